// What a job's record holds, as things that can be looked at: one outcome for each model and method.

import { PALETTE, colourOf } from "./colours.js";
import { Matrix } from "./matrix.js";

/** Every result of a record, with its matrix. onTile is called when a part of a matrix has come. */
export function outcomesOf(record, onTile = () => {}) {
  const methods = [...new Set(record.results.map((one) => one.method))];
  return record.results.map((one, index) => ({
    index,
    model: one.model,
    method: one.method,
    colour: colourOf(methods.indexOf(one.method)),
    /** Several methods share a colour when there are more than colours; they are then told apart by their names alone. */
    isColourShared: methods.length > PALETTE.length,
    input: one.input ?? record.input,
    output: one.output,
    matrix: matrixOf(one.attribution, onTile),
    importance: one.attribution.aggregated.token_importance,
    steps: one.step_scores ?? {},
    faithfulness: one.faithfulness ?? {},
    origin: one.origin ?? {},
  }));
}

/** The matrix of a result: its numbers, or where its tiles are found. */
export function matrixOf(attribution, onTile) {
  if (attribution.raw) return Matrix.of(attribution.raw);
  const matrix = new Matrix(attribution.shape[0], attribution.shape[1], attribution.tiles.url, onTile);
  matrix.askWhole();
  return matrix;
}

export const modelsOf = (outcomes) => [...new Set(outcomes.map((one) => one.model))];
