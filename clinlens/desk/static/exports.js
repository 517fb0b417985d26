// What came out, as files of other programs.

import { byId, save } from "./elements.js";

/** A cell of a CSV file. What a spreadsheet would take for a formula is kept from being one. */
export function cell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export const csv = (rows) => `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;

/** Saves one of the four files. */
export async function exportsOf(kind, record, stage) {
  const name = `clinlens-${record.job_id.slice(0, 12)}`;
  if (kind === "json") save(`${name}.json`, JSON.stringify(record, null, 1), "application/json");
  if (kind === "csv") save(`${name}-importance.csv`, csv(importance(record)), "text/csv");
  if (kind === "matrix") save(`${name}-matrix.csv`, csv(await matrix(stage.active[0])), "text/csv");
  if (kind === "png") byId("heatmap").querySelector("canvas").toBlob((blob) => save(`${name}.png`, blob, "image/png"));
}

function importance(record) {
  const rows = [["model", "method", "side", "place", "token", "importance"]];
  for (const one of record.results) {
    for (const side of ["input", "output"]) {
      const tokens = side === "input" ? (one.input ?? record.input).tokens : one.output.tokens;
      one.attribution.aggregated.token_importance[side].forEach((value, i) => rows.push([one.model, one.method, side, i, tokens[i], value]));
    }
  }
  return rows;
}

/** The first shown method's whole matrix; parts that are not here are waited for. */
async function matrix({ matrix: values, input, output }) {
  const waits = (ask) => new Promise((resolve) => { const look = () => (ask() ? resolve() : setTimeout(look, 50)); look(); });
  const rows = [["", ...output.tokens.slice(0, values.columns)]];
  for (let i = 0; i < values.rows; i += 1) {
    await waits(() => values.problem || values.sumRows(i, i).isWhole);
    if (values.problem) throw new Error(values.problem);
    rows.push([input.tokens[i], ...values.sumRows(i, i).sums]);
  }
  return rows;
}
