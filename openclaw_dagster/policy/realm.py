"""The JavaScript around a policy: it takes the clock away, freezes the inputs, checks the output."""

from __future__ import annotations

#: Line 1 of every program is ours: a stack frame on line 1 is never the policy's, which starts on line 2.
#: It must stay free of line comments, because the lines are joined. It answers one JSON text, `+` and the
#: output or `-` and the problem, because QuickJS hands out no long string that was put together.
PRELUDE = r"""
'use strict';
(function () {
  const {parse, stringify} = JSON;
  const {freeze, defineProperty, getPrototypeOf, keys: keysOf, getOwnPropertySymbols: symbols} = Object;
  const ObjectPrototype = Object.prototype;
  const isArray = Array.isArray;
  const finite = Number.isFinite;
  const wellFormed = Function.prototype.call.bind(String.prototype.isWellFormed);
  const show = String;
  const PromiseClass = Promise;
  const TypeErrorClass = TypeError;
  const absent = (owner, name, problem) => defineProperty(owner, name, {
    configurable: false,
    get() { throw new TypeErrorClass(problem); },
    set() { throw new TypeErrorClass(problem); },
  });
  const none = (name, what) =>
    absent(globalThis, name, 'a policy has no ' + what + ': pass what ' + name + ' would give as an input');
  for (const name of ['Date', 'performance', 'setTimeout', 'setInterval', 'queueMicrotask'])
    none(name, 'clock');
  for (const name of ['WeakRef', 'FinalizationRegistry']) none(name, 'view of the memory');
  for (const name of ['SharedArrayBuffer', 'Atomics']) none(name, 'shared memory');
  for (const name of ['fetch', 'XMLHttpRequest', 'require', 'process', 'console'])
    none(name, 'input or output');
  none('crypto', 'randomness');
  absent(Math, 'random', 'a policy has no randomness: pass what Math.random would give as an input');
  const evil = 'a policy runs only the code that was reviewed: remove eval and Function';
  const makers = [function () {}, async function () {}, function* () {}, async function* () {}];
  for (const maker of makers) absent(getPrototypeOf(maker), 'constructor', evil);
  absent(globalThis, 'eval', evil);
  absent(globalThis, 'Function', evil);

  const frozen = (value) => {
    if (value === null || typeof value !== 'object') return value;
    const names = keysOf(value);
    for (let i = 0; i < names.length; i++) frozen(value[names[i]]);
    return freeze(value);
  };

  const kind = (value) => {
    if (value === undefined) return 'nothing';
    if (typeof value === 'number') return 'the number ' + show(value);
    if (value instanceof PromiseClass) return 'a promise';
    return typeof value === 'object' ? 'an object that is not plain data' : 'a ' + typeof value;
  };
  const plain = (value, path, depth) => {
    if (depth > 32) throw {bad: path + ' is nested deeper than 32: return a flatter output'};
    if (value === null || typeof value === 'boolean') return show(value);
    if (typeof value === 'number' && finite(value)) return show(value + 0);
    if (typeof value === 'string') {
      if (wellFormed(value)) return stringify(value);
      throw {bad: path + ' holds half of a character (a lone surrogate): cut text between characters'};
    }
    if (typeof value === 'object' && isArray(value)) {
      let text = '';
      for (let i = 0; i < value.length; i++)
        text += (i ? ',' : '') + plain(value[i], path + '[' + i + ']', depth + 1);
      return '[' + text + ']';
    }
    const prototype = typeof value === 'object' ? getPrototypeOf(value) : undefined;
    if (prototype === null || prototype === ObjectPrototype) {
      if (symbols(value).length) throw {bad: path + ' has a key that is not text'};
      const names = keysOf(value);
      let text = '';
      for (let i = 0; i < names.length; i++)
        text += (i ? ',' : '') + stringify(names[i]) + ':'
          + plain(value[names[i]], path + '.' + names[i], depth + 1);
      return '{' + text + '}';
    }
    const repair = value instanceof PromiseClass
      ? 'a policy answers at once, remove async'
      : 'return one mapping such as {branch: "manual"}, or a word such as "manual"';
    const subject = path === 'output' ? 'the policy returned ' : path + ' is ';
    throw {bad: subject + kind(value) + ': ' + repair};
  };

  return (decide, text, limit) => {
    const output = decide(frozen(parse(text)));
    let answer;
    try {
      answer = plain(output, 'output', 1);
    } catch (error) {
      if (error === null || typeof error !== 'object' || typeof error.bad !== 'string') throw error;
      return stringify('-' + error.bad);
    }
    if (answer.length > limit)
      return stringify('-the output is longer than ' + limit + ' bytes: return only the choice');
    return stringify('+' + answer);
  };
})()
""".replace("\n", " ")

#: Runs the policy that stands on lines 2 and on; what it exports comes out as the value.
PROGRAM = "(function () {{ 'use strict';\n{source}\n;return {default};}})()"
