// Unpack a Draco buffer with Google's own decoder: counts, faces, and rows of each attribute.
const fs = require("fs");
const draco = require("draco3d");

(async () => {
  const module = await draco.createDecoderModule({});
  const data = fs.readFileSync(process.argv[2]);
  const buffer = new module.DecoderBuffer();
  buffer.Init(new Int8Array(data), data.length);
  const decoder = new module.Decoder();
  const mesh = new module.Mesh();
  const status = decoder.DecodeBufferToMesh(buffer, mesh);
  if (!status.ok()) throw new Error(status.error_msg());
  const faces = [];
  const corners = new module.DracoInt32Array();
  for (let i = 0; i < mesh.num_faces(); i++) {
    decoder.GetFaceFromMesh(mesh, i, corners);
    faces.push([0, 1, 2].map((k) => corners.GetValue(k)));
  }
  const attributes = {};
  for (let i = 0; i < mesh.num_attributes(); i++) {
    const attribute = decoder.GetAttribute(mesh, i);
    const values = new module.DracoFloat32Array();
    decoder.GetAttributeFloatForAllPoints(mesh, attribute, values);
    const rows = [];
    for (let k = 0; k < values.size(); k++) rows.push(values.GetValue(k));
    attributes[attribute.unique_id()] = { columns: attribute.num_components(), rows };
  }
  console.log(JSON.stringify({ faces, attributes }));
})();
