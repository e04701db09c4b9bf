"""The style sheet of the fleet's pages, light and dark."""

STYLE = """<style>
:root {
  --page: #f5f6f4; --card: #ffffff; --ink: #17211d; --muted: #5c6963; --grid: #dde2de; --edge: #e3e7e3;
  --class-0: #2467b0; --class-1: #c25e12; --class-2: #1f8a56; --class-3: #7c4fb3;
  --class-4: #b8356a; --class-5: #12808a; --class-6: #8f7000; --class-7: #56636f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1513; --card: #171f1c; --ink: #e8eeea; --muted: #9aa8a1; --grid: #2a3530; --edge: #26312c;
    --class-0: #6fb0f5; --class-1: #f39a55; --class-2: #5ccf93; --class-3: #b794f0;
    --class-4: #f582ae; --class-5: #55c8d2; --class-6: #d9b93c; --class-7: #a3b1bd;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 6px; }
h2 { font-size: 1.12rem; letter-spacing: -.01em; margin: 0 0 4px; }
.lead, figcaption, .small, .notes { color: var(--muted); }
.lead { margin: 0 0 26px; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 14px; padding: 20px 22px;
  margin: 0 0 18px; min-width: 0; }
.plots { display: grid; gap: 0 18px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
figure.card { break-inside: avoid; }
figcaption { font-size: .88rem; margin-bottom: 12px; }
svg.plot { display: block; width: 100%; height: auto; overflow: visible; }
.key { display: flex; gap: 4px 18px; flex-wrap: wrap; font-size: .82rem; color: var(--muted); margin-bottom: 8px; }
.key i { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em;
  background: var(--fill); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .83rem; font-variant-numeric: tabular-nums; }
th { text-align: right; color: var(--muted); font-weight: 500; font-size: .8rem; padding: 0 0 8px 10px;
  vertical-align: bottom; }
td { text-align: right; padding: 7px 0 7px 10px; border-top: 1px solid var(--edge); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.few td { color: var(--muted); } tr.fleet td { font-weight: 650; border-top: 2px solid var(--grid); }
.notes { list-style: none; padding: 0; margin: 14px 0 0; font-size: .86rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 18px; margin: 8px 0 0; font-size: .88rem; }
dt { color: var(--muted); } dd { margin: 0; }
pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .86rem;
  background: var(--page); border-radius: 8px; padding: 12px 14px; margin: 8px 0 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 820px) { main { padding: 24px 14px 48px; } .card { padding: 16px; } h1 { font-size: 1.5rem; } }
@media print { body { background: none; } }
</style>"""
