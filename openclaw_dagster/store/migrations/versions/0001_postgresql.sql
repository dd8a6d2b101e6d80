CREATE TABLE claw_events (
    seq BIGSERIAL NOT NULL,
    id TEXT NOT NULL,
    system TEXT NOT NULL,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    case_id TEXT,
    payload TEXT,
    digest TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    keep_until BIGINT NOT NULL,
    traceparent TEXT,
    hash TEXT NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
)

CREATE INDEX claw_events_received ON claw_events (received_at)

CREATE INDEX claw_events_kept ON claw_events (keep_until) WHERE payload IS NOT NULL

COMMENT ON COLUMN claw_events.seq IS 'Order of arrival.'

COMMENT ON COLUMN claw_events.name IS 'The trigger, or the event''s own name when a case emitted it.'

COMMENT ON COLUMN claw_events.source IS 'webhook, schedule, manual or emitted.'

COMMENT ON COLUMN claw_events.key IS 'Idempotency key.'

COMMENT ON COLUMN claw_events.case_id IS 'The case that emitted it.'

COMMENT ON COLUMN claw_events.payload IS 'JSON; NULL once its retention is over.'

COMMENT ON COLUMN claw_events.digest IS 'sha256 of the payload.'

COMMENT ON COLUMN claw_events.keep_until IS 'The database refuses to shred the payload earlier.'

COMMENT ON COLUMN claw_events.hash IS 'sha256 over all of the above that never changes.'

CREATE TABLE claw_event_keys (
    system TEXT NOT NULL,
    trigger TEXT NOT NULL,
    key TEXT NOT NULL,
    event_id TEXT NOT NULL,
    case_id TEXT,
    until BIGINT,
    digest TEXT NOT NULL,
    PRIMARY KEY (system, trigger, key)
)

COMMENT ON COLUMN claw_event_keys.case_id IS 'The case that handles it; NULL when the trigger''s condition was false.'

COMMENT ON COLUMN claw_event_keys.until IS 'When the key may start a new case; NULL never.'

COMMENT ON COLUMN claw_event_keys.digest IS 'sha256 of the payload it came with.'

CREATE TABLE claw_cases (
    id TEXT NOT NULL,
    system TEXT NOT NULL,
    trigger TEXT NOT NULL,
    event_id TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    state TEXT NOT NULL,
    rank SMALLINT NOT NULL,
    due_at BIGINT,
    fence INTEGER NOT NULL,
    claim TEXT,
    run_id TEXT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    closed_at BIGINT,
    updated_at BIGINT NOT NULL,
    reason TEXT,
    redrives INTEGER NOT NULL,
    facts TEXT NOT NULL,
    seq INTEGER NOT NULL,
    head TEXT NOT NULL,
    PRIMARY KEY (id)
)

CREATE INDEX claw_cases_next ON claw_cases (due_at) WHERE due_at IS NOT NULL

CREATE INDEX claw_cases_system ON claw_cases (system, id)

CREATE INDEX claw_cases_run ON claw_cases (run_id) WHERE claim IS NOT NULL

CREATE INDEX claw_cases_claim ON claw_cases (claim, id) WHERE claim IS NOT NULL

CREATE INDEX claw_cases_due ON claw_cases (system, rank, due_at, id) WHERE due_at IS NOT NULL

CREATE INDEX claw_cases_key ON claw_cases (key, id)

CREATE INDEX claw_cases_created ON claw_cases (created_at)

CREATE INDEX claw_cases_system_state ON claw_cases (system, state, id)

CREATE INDEX claw_cases_state ON claw_cases (state, id)

COMMENT ON COLUMN claw_cases.digest IS 'The version of the system it runs under.'

COMMENT ON COLUMN claw_cases.rank IS '0 critical, 1 ordinary: who is first in line.'

COMMENT ON COLUMN claw_cases.due_at IS 'When it may be claimed; for a running case, when its lease ends. NULL never.'

COMMENT ON COLUMN claw_cases.fence IS 'Grows with every claim and start; an old one cannot write.'

COMMENT ON COLUMN claw_cases.claim IS 'The claim that holds it.'

COMMENT ON COLUMN claw_cases.run_id IS 'The Dagster run that moves it, or moved it last.'

COMMENT ON COLUMN claw_cases.reason IS 'Why it waits, failed or ended.'

COMMENT ON COLUMN claw_cases.facts IS 'JSON: what happened, what was decided, how each step stands.'

COMMENT ON COLUMN claw_cases.seq IS 'Length of its journal.'

COMMENT ON COLUMN claw_cases.head IS 'Hash of its last journal row.'

CREATE TABLE claw_journal (
    case_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT,
    digest TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    keep_until BIGINT NOT NULL,
    PRIMARY KEY (case_id, seq)
)

CREATE INDEX claw_journal_at ON claw_journal (at)

CREATE INDEX claw_journal_kept ON claw_journal (keep_until) WHERE body IS NOT NULL

COMMENT ON COLUMN claw_journal.seq IS '1, 2, 3 … within the case.'

COMMENT ON COLUMN claw_journal.body IS 'JSON; NULL once its retention is over.'

COMMENT ON COLUMN claw_journal.digest IS 'sha256 of the body.'

COMMENT ON COLUMN claw_journal.prev IS 'Hash of the row before it in the case.'

COMMENT ON COLUMN claw_journal.keep_until IS 'The database refuses to shred the body earlier.'

CREATE TABLE claw_effects (
    key TEXT NOT NULL,
    case_id TEXT NOT NULL,
    step TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    claimed_at BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (key)
)

CREATE INDEX claw_effects_case ON claw_effects (case_id)

COMMENT ON COLUMN claw_effects.key IS 'What is sent as Idempotency-Key.'

COMMENT ON COLUMN claw_effects.state IS 'claimed, done, failed, unknown or undone.'

COMMENT ON COLUMN claw_effects.fence IS 'The fence under which it was claimed last.'

CREATE TABLE claw_dead_letters (
    case_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    system TEXT NOT NULL,
    queue TEXT NOT NULL,
    stage TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    digest TEXT NOT NULL,
    at BIGINT NOT NULL,
    redriven_at BIGINT,
    redriven_by TEXT,
    PRIMARY KEY (case_id, seq)
)

CREATE INDEX claw_dead_letters_redriven ON claw_dead_letters (at, case_id) WHERE redriven_at IS NOT NULL

CREATE INDEX claw_dead_letters_system ON claw_dead_letters (system, at, case_id)

CREATE INDEX claw_dead_letters_open ON claw_dead_letters (at, case_id) WHERE redriven_at IS NULL

COMMENT ON COLUMN claw_dead_letters.seq IS 'The journal row that says it.'

COMMENT ON COLUMN claw_dead_letters.stage IS 'The decision or step that gave up.'

COMMENT ON COLUMN claw_dead_letters.digest IS 'The version of the system it failed under.'

CREATE TABLE claw_specs (
    digest TEXT NOT NULL,
    system TEXT NOT NULL,
    version TEXT NOT NULL,
    bundle TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (digest)
)

COMMENT ON COLUMN claw_specs.bundle IS 'JSON: all that is needed to load this version again.'

COMMENT ON COLUMN claw_specs.hash IS 'sha256 over all of the above.'

CREATE TABLE claw_day_heads (
    day TEXT NOT NULL,
    rows INTEGER NOT NULL,
    digest TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (day)
)

COMMENT ON COLUMN claw_day_heads.day IS 'UTC day, such as 2026-01-31.'

COMMENT ON COLUMN claw_day_heads.digest IS 'sha256 over the hashes of the day''s events and journal rows.'

CREATE TABLE claw_tallies (
    shard INTEGER NOT NULL,
    rows BIGINT NOT NULL,
    total TEXT NOT NULL,
    floor BIGINT NOT NULL,
    PRIMARY KEY (shard)
)

COMMENT ON COLUMN claw_tallies.shard IS 'A writer holds one of the rows.'

COMMENT ON COLUMN claw_tallies.rows IS 'Rows of history counted here.'

COMMENT ON COLUMN claw_tallies.total IS 'Sum of their hashes, modulo 2^256, in hex.'

COMMENT ON COLUMN claw_tallies.floor IS 'Days before it are sealed: nothing is dated earlier.'

CREATE FUNCTION claw_events_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN IF TG_OP = 'UPDATE' THEN IF NEW."payload" IS NULL AND OLD.keep_until <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) AND NEW."seq" IS NOT DISTINCT FROM OLD."seq" AND NEW."id" IS NOT DISTINCT FROM OLD."id" AND NEW."system" IS NOT DISTINCT FROM OLD."system" AND NEW."name" IS NOT DISTINCT FROM OLD."name" AND NEW."source" IS NOT DISTINCT FROM OLD."source" AND NEW."key" IS NOT DISTINCT FROM OLD."key" AND NEW."case_id" IS NOT DISTINCT FROM OLD."case_id" AND NEW."digest" IS NOT DISTINCT FROM OLD."digest" AND NEW."received_at" IS NOT DISTINCT FROM OLD."received_at" AND NEW."keep_until" IS NOT DISTINCT FROM OLD."keep_until" AND NEW."traceparent" IS NOT DISTINCT FROM OLD."traceparent" AND NEW."hash" IS NOT DISTINCT FROM OLD."hash" THEN RETURN NEW; END IF; END IF; RAISE EXCEPTION USING MESSAGE = 'claw_events is append-only', ERRCODE = 'integrity_constraint_violation'; END $guard$

CREATE TRIGGER claw_events_keep_rows BEFORE UPDATE OR DELETE ON claw_events FOR EACH ROW EXECUTE FUNCTION claw_events_guard()

CREATE TRIGGER claw_events_keep_all BEFORE TRUNCATE ON claw_events FOR EACH STATEMENT EXECUTE FUNCTION claw_events_guard()

CREATE FUNCTION claw_journal_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN IF TG_OP = 'UPDATE' THEN IF NEW."body" IS NULL AND OLD.keep_until <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) AND NEW."case_id" IS NOT DISTINCT FROM OLD."case_id" AND NEW."seq" IS NOT DISTINCT FROM OLD."seq" AND NEW."at" IS NOT DISTINCT FROM OLD."at" AND NEW."kind" IS NOT DISTINCT FROM OLD."kind" AND NEW."digest" IS NOT DISTINCT FROM OLD."digest" AND NEW."prev" IS NOT DISTINCT FROM OLD."prev" AND NEW."hash" IS NOT DISTINCT FROM OLD."hash" AND NEW."keep_until" IS NOT DISTINCT FROM OLD."keep_until" THEN RETURN NEW; END IF; END IF; RAISE EXCEPTION USING MESSAGE = 'claw_journal is append-only', ERRCODE = 'integrity_constraint_violation'; END $guard$

CREATE TRIGGER claw_journal_keep_rows BEFORE UPDATE OR DELETE ON claw_journal FOR EACH ROW EXECUTE FUNCTION claw_journal_guard()

CREATE TRIGGER claw_journal_keep_all BEFORE TRUNCATE ON claw_journal FOR EACH STATEMENT EXECUTE FUNCTION claw_journal_guard()

CREATE FUNCTION claw_specs_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN IF TG_OP = 'UPDATE' THEN IF 1 = 0 THEN RETURN NEW; END IF; END IF; RAISE EXCEPTION USING MESSAGE = 'claw_specs is append-only', ERRCODE = 'integrity_constraint_violation'; END $guard$

CREATE TRIGGER claw_specs_keep_rows BEFORE UPDATE OR DELETE ON claw_specs FOR EACH ROW EXECUTE FUNCTION claw_specs_guard()

CREATE TRIGGER claw_specs_keep_all BEFORE TRUNCATE ON claw_specs FOR EACH STATEMENT EXECUTE FUNCTION claw_specs_guard()

CREATE FUNCTION claw_day_heads_guard() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN IF TG_OP = 'UPDATE' THEN IF 1 = 0 THEN RETURN NEW; END IF; END IF; RAISE EXCEPTION USING MESSAGE = 'claw_day_heads is append-only', ERRCODE = 'integrity_constraint_violation'; END $guard$

CREATE TRIGGER claw_day_heads_keep_rows BEFORE UPDATE OR DELETE ON claw_day_heads FOR EACH ROW EXECUTE FUNCTION claw_day_heads_guard()

CREATE TRIGGER claw_day_heads_keep_all BEFORE TRUNCATE ON claw_day_heads FOR EACH STATEMENT EXECUTE FUNCTION claw_day_heads_guard()

INSERT INTO claw_tallies (shard, rows, total, floor) VALUES
(0, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(1, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(2, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(3, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(4, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(5, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(6, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(7, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(8, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(9, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(10, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(11, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(12, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(13, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(14, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(15, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(16, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(17, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(18, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(19, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(20, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(21, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(22, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(23, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(24, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(25, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(26, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(27, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(28, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(29, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(30, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0),
(31, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0)
