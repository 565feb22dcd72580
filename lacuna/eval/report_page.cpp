#include "lacuna/eval/report_page.h"

#include "lacuna/core/error.h"
#include "lacuna/eval/report_svg.h"

namespace lacuna::eval {

namespace {

// Eight colours that stay apart for colour-blind readers; further runs repeat them.
constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#1d1f23;--soft:#5c626b;--line:#e3e3de;--grid:#ecece8;
--good:#10713f;--good-back:#e2f3e9;--warn:#8a5300;--warn-back:#fbefd6;--bad:#a8201a;--bad-back:#fbe4e2;
--plain:#4b515a;--plain-back:#ececea;--mark:#fff5d1;
--c0:#2563c9;--c1:#c2570c;--c2:#0f8a5f;--c3:#a13aa8;--c4:#b3261e;--c5:#0b7f93;--c6:#7a6a00;--c7:#5b4bc4}
@media (prefers-color-scheme:dark){:root{--page:#14161a;--card:#1c1f24;--ink:#e8e9eb;--soft:#a0a6b0;--line:#2d3138;
--grid:#272b31;--good:#7fdcA8;--good-back:#153325;--warn:#f0c06a;--warn-back:#3a2c10;--bad:#ff9d94;--bad-back:#43201d;
--plain:#c0c5cd;--plain-back:#2b2f36;--mark:#3a3314;
--c0:#7aaefc;--c1:#f5a05f;--c2:#5ccfa2;--c3:#da8fe0;--c4:#ff8b82;--c5:#5cc7da;--c6:#d6c34c;--c7:#a99cf7}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.5;-webkit-text-size-adjust:100%;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main,header.top,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header.top{padding-top:40px}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.02em;font-weight:650;margin:0}
h2{font-size:1.2rem;letter-spacing:-.01em;font-weight:650;margin:0 0 2px}
h3{font-size:.95rem;font-weight:620;margin:0}
h3 small{font-weight:400;color:var(--soft)}
p{margin:0}.lead{color:var(--soft);max-width:72ch}
section{margin:36px 0}section>.lead{margin-bottom:14px}
a{color:inherit}
.card,.chart{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;min-width:0}
.runs{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.charts{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,345px),1fr))}
.run{display:inline-flex;align-items:center;gap:8px;font-weight:620;overflow-wrap:anywhere}
.swatch{flex:none;width:10px;height:10px;border-radius:50%}
.top-line{display:flex;justify-content:space-between;gap:12px;align-items:flex-start}
.badge{flex:none;font-size:.78rem;font-weight:620;border-radius:99px;padding:2px 10px}
.good{color:var(--good);background:var(--good-back)}.warn{color:var(--warn);background:var(--warn-back)}
.bad{color:var(--bad);background:var(--bad-back)}.plain{color:var(--plain);background:var(--plain-back)}
.verdict{margin:8px 0 12px}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:10px 16px;margin:0}
dt{color:var(--soft);font-size:.78rem}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.problems{margin:12px 0 0;padding:8px 12px 8px 28px;border-radius:8px;font-size:.85rem;overflow-wrap:anywhere}
.chart{margin:0}.chart figcaption p{font-size:.82rem;color:var(--soft)}
.chart>svg{display:block;width:100%;height:auto;margin-top:8px;overflow:visible}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;margin-top:4px}.legend span{display:inline-flex;align-items:center;gap:6px}
.key{width:22px;height:8px;flex:none}
svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--line)}
svg .tick{fill:var(--soft);font-size:11px;font-variant-numeric:tabular-nums}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .line.dashed{stroke-width:1.5;stroke-dasharray:1 5}
svg .line.point{stroke-width:7}svg .line.neutral{stroke:var(--soft)}
svg .band{stroke:none;opacity:.16}
svg .dot{fill:transparent;stroke:none}svg .dot:hover{fill:var(--dot)}
.panels{display:flex;flex-wrap:wrap;gap:14px 24px}.picture{margin:0}
.picture img{display:block;width:auto;max-width:100%;height:auto;border-radius:6px;margin-top:10px;image-rendering:auto}
.strip{display:grid;gap:10px;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));
flex:1 1 320px;align-content:start;margin-top:10px}
.strip details{min-width:0}.strip summary{list-style:none;cursor:zoom-in;font-size:.78rem;color:var(--soft)}
.strip summary::-webkit-details-marker{display:none}
.strip img{display:block;width:100%;height:auto;border-radius:4px;border:1px solid var(--line)}
.strip details[open]{grid-column:1/-1}.strip details[open] summary{cursor:zoom-out}
.strip details[open] img{width:auto;max-width:100%}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:7px 14px 7px 0;border-top:1px solid var(--line);vertical-align:top}
thead th{border-top:0;color:var(--soft);font-weight:500;font-size:.78rem;white-space:nowrap}
td{font-variant-numeric:tabular-nums}tbody th{font-weight:inherit}
.number,table .run{white-space:nowrap}.detail{min-width:230px;color:var(--soft);font-size:.82rem}.best{font-weight:680}.best::after{content:" best";font-size:.72rem;color:var(--good)}
.differs{background:var(--mark)}.differs td,.differs th{padding-left:8px}
code,pre{font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
td code{overflow-wrap:anywhere}
pre{overflow-x:auto;margin:10px 0 0}
.bar{position:relative;height:10px;min-width:130px;border-radius:5px;background:var(--grid);margin-top:7px}
.bar i{position:absolute;inset:0 auto 0 0;border-radius:5px}
.bar b{position:absolute;top:-3px;bottom:-3px;width:2px;background:var(--ink)}
.inner{margin-top:12px}.protocol+.protocol{margin-top:14px}.protocol .lead{font-size:.85rem;margin-bottom:10px}
.aside{font-size:.82rem;color:var(--soft);margin-top:8px}
details.whole{margin-top:12px}details.whole summary{cursor:pointer}
.cards{display:grid;gap:14px}
footer{color:var(--soft);font-size:.82rem;padding-bottom:40px}
@media (max-width:560px){main,header.top,footer{padding-left:14px;padding-right:14px}header.top{padding-top:24px}
.card,.chart{padding:13px 14px}section{margin:28px 0}svg .tick{font-size:13px}
dl{grid-template-columns:1fr 1fr}.strip{grid-template-columns:1fr 1fr}}
@media print{body{background:#fff;font-size:11pt}.card,.chart,tr{break-inside:avoid}h2{break-after:avoid}
main,header.top,footer{max-width:none;padding-left:0;padding-right:0}.runs,.charts{grid-template-columns:1fr 1fr}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

constexpr size_t kColors = 8;

/// Lines, bands and dots of each colour.
std::string color_rules() {
  std::string out;
  for (size_t i = 0; i < kColors; ++i)
    out += str(".line.c", i, "{stroke:var(--c", i, ")}.band.c", i, ",.fill.c", i, "{fill:var(--c", i,
               ");background:var(--c", i, ")}.dot.c", i, "{--dot:var(--c", i, ")}\n");
  return out;
}

}  // namespace

std::string run_label(const Runs& runs, size_t index) {
  return str("<span class=\"run\"><i class=\"swatch fill c", index % kColors, "\"></i>",
             escape_html(runs[index].name), "</span>");
}

std::string page(const std::string& title, const std::string& body) {
  return str(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      escape_html(title), "</title>\n<style>", kStyle, color_rules(), "</style>\n</head>\n<body>\n", body,
      "</body>\n</html>\n");
}

}  // namespace lacuna::eval
