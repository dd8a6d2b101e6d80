// One link on Dagster's own pages: to the inbox, with how much waits for whoever looks.
(() => {
  const link = document.createElement("a");
  link.id = "claw-inbox";
  link.href = "/claw/inbox";
  link.textContent = "Inbox";
  link.style.cssText =
    "position:fixed;right:16px;bottom:16px;z-index:10;padding:7px 14px;border-radius:18px;background:#3346c7;color:#fff;" +
    "font:600 13px/1.3 system-ui,sans-serif;text-decoration:none;box-shadow:0 1px 5px rgba(0,0,0,.35)";
  const look = async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const answer = await fetch("/claw/inbox.json", { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const { mine, waiting, more } = await answer.json();
      link.textContent = mine ? `Inbox ${mine}` : "Inbox";
      link.title = `${mine} for you, ${waiting}${more ? " or more" : ""} in all`;
      link.style.background = mine ? "#b3261e" : "#3346c7";
    } catch {
      link.textContent = "Inbox";
      link.title = "how much waits is not known at the moment";
    }
  };
  document.body.append(link);
  document.addEventListener("visibilitychange", look);
  setInterval(look, 30000);
  look();
})();
