// The Khronos validator over the files named: one JSON line each, with its issues.
const fs = require("fs");
const validator = require("gltf-validator");

(async () => {
  for (const path of process.argv.slice(2)) {
    const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(path)));
    console.log(JSON.stringify({ path, issues: report.issues }));
  }
})();
