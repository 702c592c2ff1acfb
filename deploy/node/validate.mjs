// Reads an AsyncAPI document and prints what its parser finds wrong, as JSON; exit 1 where there is any.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [packages, document] = process.argv.slice(2);
const { Parser } = createRequire(`${packages}/package.json`)("@asyncapi/parser");
const { diagnostics } = await new Parser().parse(readFileSync(document, "utf8"));
const found = diagnostics
  .filter(({ severity }) => severity === 0)
  .map(({ message, path }) => ({ message, path: path.join(".") }));
console.log(JSON.stringify(found, null, 1));
process.exit(found.length ? 1 : 0);
