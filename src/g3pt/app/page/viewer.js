// Shapes on a canvas: one, or several side by side under one camera.

import { GLTFLoader, OrbitControls, THREE } from "/static/three/index.js";

const CLAY = 0xc9b79c;
const INSIDE = 0xd0643f; // what a section shows of the inside
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The first mesh of a GLB file as a geometry with normals. */
export async function readGlb(buffer) {
  const { scene } = await new GLTFLoader().parseAsync(buffer, "");
  let found = null;
  scene.updateMatrixWorld(true);
  scene.traverse((node) => { if (node.isMesh && !found) found = node; });
  if (!found) throw new Error("the file has no mesh");
  const geometry = found.geometry.applyMatrix4(found.matrixWorld);
  if (!geometry.attributes.normal) geometry.computeVertexNormals();
  geometry.computeBoundingBox();
  geometry.userData.map = found.material?.map ?? null;
  return geometry;
}

export class Viewer {
  /** @param labels an element for the names of shapes that are shown side by side. */
  constructor(canvas, labels) {
    Object.assign(this, { canvas, labels });
    this.shown = [];
    this.wire = false;
    this.paint = true;
    this.plane = null;
    this.rub = null;
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.localClippingEnabled = true;
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    this.camera = new THREE.PerspectiveCamera(35, 1, 0.01, 50);
    this.scene = new THREE.Scene();
    this.sun = new THREE.DirectionalLight(0xffffff, 2.4);
    this.scene.add(this.camera, this.sun, new THREE.HemisphereLight(0xffffff, 0x777777, 1.5));
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enablePan = false;
    this.controls.minDistance = 1.2;
    this.controls.maxDistance = 14;
    this.controls.addEventListener("change", () => this.draw());
    this.lightFrom(35);
    this.home();
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("webglcontextrestored", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Put shapes on the canvas. @param shapes `{geometry, label}` each. */
  show(shapes) {
    for (const one of this.shown) {
      this.scene.remove(one.group);
      one.materials.forEach((material) => material.dispose());
    }
    this.shown = shapes.map(({ geometry, label }) => this.#place(geometry, label));
    this.#dress();
    this.draw();
  }

  #place(geometry, label) {
    const outside = new THREE.MeshStandardMaterial({ roughness: 0.75, side: THREE.FrontSide });
    const inside = new THREE.MeshBasicMaterial({ color: INSIDE, side: THREE.BackSide });
    const group = new THREE.Group();
    const front = new THREE.Mesh(geometry, outside);
    const back = new THREE.Mesh(geometry, inside);
    group.add(front, back);
    const box = geometry.boundingBox, size = box.getSize(new THREE.Vector3());
    const side = Math.max(size.x, size.y, size.z);
    if (side > 2.2 || side < 0.6) { // not in the unit frame
      const scale = 1.9 / side;
      group.scale.setScalar(scale);
      group.position.copy(box.getCenter(new THREE.Vector3())).multiplyScalar(-scale);
    }
    group.updateMatrixWorld(true);
    this.scene.add(group);
    return { geometry, label, group, back, outside, inside, materials: [outside, inside] };
  }

  /** How surfaces look: wires, colours, section. */
  look({ wire = this.wire, paint = this.paint, plane = this.plane }) {
    Object.assign(this, { wire, paint, plane });
    this.#dress();
    this.draw();
  }

  #dress() {
    const planes = this.plane ? [this.#section()] : [];
    for (const one of this.shown) {
      const painted = this.paint && Boolean(one.geometry.attributes.color);
      const map = this.paint ? one.geometry.userData.map : null;
      one.outside.vertexColors = painted;
      one.outside.map = map;
      one.outside.color.set(painted || map ? 0xffffff : CLAY);
      one.outside.wireframe = this.wire;
      one.back.visible = planes.length > 0 && !this.wire; // a closed shape hides its inside
      for (const material of one.materials) {
        material.clippingPlanes = planes;
        material.needsUpdate = true;
      }
    }
  }

  /** The section plane; what lies on its positive side is seen. */
  #section() {
    const { axis, place, flip } = this.plane, sign = flip ? 1 : -1;
    const normal = new THREE.Vector3(axis === "x", axis === "y", axis === "z").multiplyScalar(sign);
    return new THREE.Plane(normal, -sign * place);
  }

  lightFrom(degrees) {
    const angle = (degrees * Math.PI) / 180;
    this.sun.position.set(3 * Math.sin(angle), 3, 3 * Math.cos(angle));
    this.draw();
  }

  /** Look from where the pictures are taken from. */
  home() {
    this.camera.position.set(2.1, 1.75, 3.5);
    this.controls.target.set(0, 0, 0);
    this.controls.update();
    this.draw();
  }

  key(event) {
    const offset = new THREE.Spherical().setFromVector3(this.camera.position);
    if (KEYS[event.key]) {
      const [dx, dy] = KEYS[event.key];
      offset.theta += dx * 0.15;
      offset.phi = Math.min(Math.PI - 0.05, Math.max(0.05, offset.phi + dy * 0.15));
    } else if (event.key === "+" || event.key === "=") offset.radius = Math.max(1.2, offset.radius * 0.9);
    else if (event.key === "-") offset.radius = Math.min(14, offset.radius / 0.9);
    else if (event.key === "Home") { this.home(); event.preventDefault(); return; }
    else return;
    event.preventDefault();
    this.camera.position.setFromSpherical(offset);
    this.controls.update();
    this.draw();
  }

  /** Tiles `{left, top, width, height}` of the canvas in its own pixels, one for each shape. */
  tiles() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const num = Math.max(1, this.shown.length);
    let columns = 1;
    while (columns * Math.max(1, Math.round((columns * height) / width)) < num) columns += 1;
    columns = Math.min(columns, num);
    const rows = Math.ceil(num / columns);
    return Array.from({ length: num }, (_, index) => ({
      left: Math.round(((index % columns) * width) / columns),
      top: Math.round((Math.floor(index / columns) * height) / rows),
      width: Math.round(width / columns),
      height: Math.round(height / rows),
    }));
  }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = null; this.#render(); });
  }

  #render() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    this.renderer.setScissorTest(true);
    const tiles = this.tiles();
    const names = [];
    tiles.forEach((tile, index) => {
      this.shown.forEach((one, other) => { one.group.visible = other === index; });
      this.#aim(tile);
      const bottom = height - tile.top - tile.height;
      this.renderer.setViewport(tile.left, bottom, tile.width, tile.height);
      this.renderer.setScissor(tile.left, bottom, tile.width, tile.height);
      this.renderer.render(this.scene, this.camera);
      if (tiles.length > 1 && this.shown[index]) names.push([this.shown[index].label, tile]);
    });
    this.labels.replaceChildren(...names.map(([label, tile]) => {
      const span = document.createElement("span");
      span.textContent = label;
      span.style.left = `${tile.left + 6}px`;
      span.style.top = `${tile.top + 6}px`;
      return span;
    }));
    this.canvas.dataset.drawn = Number(this.canvas.dataset.drawn ?? 0) + 1;
  }

  /** Set the camera for a tile; narrow ones see as much to the sides as square ones do. */
  #aim(tile) {
    const aspect = tile.width / tile.height;
    const half = Math.tan((35 * Math.PI) / 360) / Math.min(1, aspect);
    this.camera.aspect = aspect;
    this.camera.fov = (360 / Math.PI) * Math.atan(half);
    this.camera.updateProjectionMatrix();
  }

  /** A small picture of what is on the canvas. */
  thumbnail(width = 160, height = 120) {
    this.#render();
    const small = document.createElement("canvas");
    Object.assign(small, { width, height });
    const { width: w, height: h } = this.canvas;
    const scale = Math.min(w / width, h / height);
    const cut = [width * scale, height * scale];
    small.getContext("2d").drawImage(this.canvas, (w - cut[0]) / 2, (h - cut[1]) / 2, ...cut, 0, 0, width, height);
    return small.toDataURL("image/webp", 0.7);
  }

  // --- parts of the shape ---------------------------------------------------------------------

  /** Faces of a geometry in the place of the first shape, whose middle is under a circle on the
   * canvas, all through the shape. */
  facesUnder(geometry, x, y, radius) {
    const [one] = this.shown, [tile] = this.tiles();
    this.#aim(tile);
    const at = geometry.attributes.position, index = geometry.index;
    const matrix = this.camera.projectionMatrix.clone()
      .multiply(this.camera.matrixWorldInverse).multiply(one.group.matrixWorld);
    const xs = new Float32Array(at.count), ys = new Float32Array(at.count), point = new THREE.Vector3();
    for (let number = 0; number < at.count; number += 1) {
      point.fromBufferAttribute(at, number).applyMatrix4(matrix);
      xs[number] = ((point.x + 1) / 2) * tile.width - x;
      ys[number] = ((1 - point.y) / 2) * tile.height - y;
    }
    const found = [];
    for (let face = 0; face < index.count / 3; face += 1) {
      const corners = [0, 1, 2].map((corner) => index.getX(3 * face + corner));
      const dx = (xs[corners[0]] + xs[corners[1]] + xs[corners[2]]) / 3;
      const dy = (ys[corners[0]] + ys[corners[1]] + ys[corners[2]]) / 3;
      if (dx * dx + dy * dy < radius * radius) found.push(face);
    }
    return found;
  }

  /** Whether a face of the first shape is on the side of the section plane that is seen. */
  seenFaces() {
    if (!this.plane) return () => true;
    const [{ geometry, group }] = this.shown, plane = this.#section(), point = new THREE.Vector3();
    return (face) => [0, 1, 2].every((corner) => {
      point.fromBufferAttribute(geometry.attributes.position, geometry.index.getX(3 * face + corner));
      return plane.distanceToPoint(point.applyMatrix4(group.matrixWorld)) >= 0;
    });
  }
}

/** A geometry without some faces. @param kept whether a face, by its number, stays. */
export function withFaces(geometry, kept) {
  const found = geometry.clone(), index = [];
  for (let face = 0; face < geometry.index.count / 3; face += 1) {
    if (kept(face)) for (let corner = 0; corner < 3; corner += 1) index.push(geometry.index.getX(3 * face + corner));
  }
  found.setIndex(index);
  found.userData = geometry.userData;
  return found;
}

/** A geometry as the text of an OBJ file. */
export function toObj(geometry) {
  const at = geometry.attributes.position, lines = [], numbers = new Map();
  const numberOf = (vertex) => {
    if (!numbers.has(vertex)) {
      numbers.set(vertex, numbers.size + 1);
      lines.push(`v ${at.getX(vertex).toFixed(5)} ${at.getY(vertex).toFixed(5)} ${at.getZ(vertex).toFixed(5)}`);
    }
    return numbers.get(vertex);
  };
  const faces = [];
  for (let corner = 0; corner < geometry.index.count; corner += 3) {
    faces.push(`f ${[0, 1, 2].map((more) => numberOf(geometry.index.getX(corner + more))).join(" ")}`);
  }
  return [...lines, ...faces, ""].join("\n");
}
