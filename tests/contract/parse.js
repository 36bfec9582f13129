// Parses AsyncAPI documents, and fails if one of them is none. Arguments: the files.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

let failed = false;
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
  const errors = diagnostics.filter(({ severity }) => severity === 0);
  for (const { code, message, path } of errors) console.error(`${file}: ${path.join(".")}: ${message} (${code})`);
  if (document === undefined || errors.length > 0) failed = true;
  else console.log(`${file}: ${document.allMessages().length} messages, ${document.allOperations().length} operations`);
}
process.exitCode = failed ? 1 : 0;
