// A senior's form: the concept search, and values of tokens on hover and focus.

import { Concepts } from "./concepts.js";
import { Evidence } from "./evidence.js";

const { codebook } = JSON.parse(document.getElementById("task-data").textContent);
for (const question of document.querySelectorAll('.question[data-kind="concepts"]')) new Concepts(question, codebook, () => {});
new Evidence(document.getElementById("evidence"), {});
