// Settings of methods as fields, from the schema that the server gives: every setting is written once, there.

import { make, words } from "./elements.js";

/** Fields for the chosen methods, filled with what was given; values() gives what differs from the defaults. */
export function settingsForm(place, methods, given) {
  const fields = [];
  place.replaceChildren(...methods.map((method) => {
    const properties = Object.entries(method.settings);
    const made = properties.map(([name, schema]) => ({ method: method.name, name, schema, input: inputFor(schema, given[method.name]?.[name]) }));
    fields.push(...made);
    return make("details", {}, make("summary", {}, `Settings of ${words(method.name)}`), made.map(({ name, schema, input }) => make("label", { class: "field" }, make("span", {}, words(name)), input, make("small", {}, schema.description ?? ""))));
  }));
  return {
    values() {
      const found = {};
      for (const { method, name, schema, input } of fields) {
        const value = valueOf(schema, input);
        if (value !== undefined && JSON.stringify(value) !== JSON.stringify(schema.default)) (found[method] ??= {})[name] = value;
      }
      return found;
    },
  };
}

const options = (schema) => schema.enum ?? schema.anyOf?.find((one) => one.enum)?.enum ?? null;
const kindOf = (schema) => schema.type ?? schema.anyOf?.find((one) => one.type !== "null")?.type;

function inputFor(schema, given) {
  const value = given ?? schema.default ?? "";
  if (options(schema)) return make("select", {}, options(schema).map((one) => make("option", { selected: one === value }, one)));
  if (kindOf(schema) === "boolean") return make("input", { type: "checkbox", checked: value === true });
  if (["integer", "number"].includes(kindOf(schema))) return make("input", { type: "number", step: kindOf(schema) === "integer" ? 1 : "any", value });
  return make("input", { value: typeof value === "object" ? JSON.stringify(value) : value, autocomplete: "off" });
}

function valueOf(schema, input) {
  if (input.type === "checkbox") return input.checked;
  if (input.value === "") return undefined;
  if (input.type === "number") return Number(input.value);
  if (["array", "object"].includes(kindOf(schema))) { try { return JSON.parse(input.value); } catch { return input.value; } }
  return input.value;
}
