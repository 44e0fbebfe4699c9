// The cut-out of a picture, seen before anything is made of it and repaired with a brush.

const MAX_SIDE = 1024; // of the canvas; the mask is drawn at the picture's own size when it is sent
const SHADE = "rgba(20, 24, 24, .72)";

export class CutoutEditor {
  /** @param canvas shows the picture, what is left out shaded. @param onchange hears of strokes. */
  constructor(canvas, { size, mode, onchange }) {
    Object.assign(this, { canvas, size, mode, onchange });
    this.painting = canvas.getContext("2d");
    this.undos = [];
    this.edited = false;
    this.cursor = null;
    this.last = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.mask || event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.remember();
      this.last = null;
      this.stroke(this.at(event));
      this.last = this.at(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.cursor = this.at(event);
      if (this.last) {
        this.stroke(this.cursor);
        this.last = this.cursor;
      }
      this.draw();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { this.last = null; });
    canvas.addEventListener("pointerleave", () => { this.cursor = null; this.draw(); });
    canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * Show a picture.
   * @param picture what is seen, an image bitmap.
   * @param found the cut-out, an image bitmap: transparent where it is not the object.
   */
  show(picture, found) {
    const scale = Math.min(1, MAX_SIDE / Math.max(picture.width, picture.height));
    this.own = [picture.width, picture.height];
    this.canvas.width = Math.max(1, Math.round(picture.width * scale));
    this.canvas.height = Math.max(1, Math.round(picture.height * scale));
    this.picture = picture;
    this.found = found;
    this.mask = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.shade = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    this.asFound();
  }

  /** Back to what the server found. */
  asFound() {
    const brush = this.mask.getContext("2d");
    brush.globalCompositeOperation = "source-over";
    brush.clearRect(0, 0, this.mask.width, this.mask.height);
    brush.drawImage(this.found, 0, 0, this.mask.width, this.mask.height);
    brush.globalCompositeOperation = "source-in";
    brush.fillStyle = "#fff";
    brush.fillRect(0, 0, this.mask.width, this.mask.height);
    this.undos = [];
    this.edited = false;
    this.draw();
    this.onchange();
  }

  undo() {
    const before = this.undos.pop();
    if (!before) return;
    this.mask.getContext("2d").putImageData(before, 0, 0);
    this.edited = this.undos.length > 0;
    this.draw();
    this.onchange();
  }

  /** The repaired mask as a PNG, white on black; null if nothing was repaired. */
  async repaired() {
    if (!this.edited) return null;
    const whole = new OffscreenCanvas(...this.own);
    const brush = whole.getContext("2d");
    brush.fillStyle = "#000";
    brush.fillRect(0, 0, ...this.own);
    brush.drawImage(this.mask, 0, 0, ...this.own);
    return whole.convertToBlob({ type: "image/png" });
  }

  remember() {
    this.undos.push(this.mask.getContext("2d").getImageData(0, 0, this.mask.width, this.mask.height));
    if (this.undos.length > 12) this.undos.shift();
  }

  /** Brush radius in pixels of the canvas. */
  get radius() {
    return (Number(this.size.value) / 100) * Math.max(this.canvas.width, this.canvas.height) / 2;
  }

  /** A place of the pointer in pixels of the canvas, which may be shown with margins. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = Math.min(box.width / this.canvas.width, box.height / this.canvas.height);
    const left = (box.width - this.canvas.width * scale) / 2;
    const top = (box.height - this.canvas.height * scale) / 2;
    return [(event.clientX - box.left - left) / scale, (event.clientY - box.top - top) / scale];
  }

  stroke([x, y]) {
    const brush = this.mask.getContext("2d");
    brush.globalCompositeOperation = this.mode() === "add" ? "source-over" : "destination-out";
    brush.strokeStyle = brush.fillStyle = "#fff";
    brush.lineCap = "round";
    brush.lineWidth = 2 * this.radius;
    brush.beginPath();
    brush.moveTo(...(this.last ?? [x, y]));
    brush.lineTo(x, y);
    brush.stroke();
    this.edited = true;
    this.draw();
    this.onchange();
  }

  key(event) {
    if (!this.mask) return;
    const { width, height } = this.canvas;
    const step = Math.max(2, this.radius / 2);
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const [x, y] = this.cursor ?? [width / 2, height / 2];
    if (ways[event.key]) {
      const [dx, dy] = ways[event.key];
      this.cursor = [Math.min(width, Math.max(0, x + dx)), Math.min(height, Math.max(0, y + dy))];
      this.draw();
    } else if (event.key === " ") {
      this.cursor = [x, y];
      this.remember();
      this.last = null;
      this.stroke(this.cursor);
    } else return;
    event.preventDefault();
  }

  draw() {
    if (!this.mask) return;
    const { width, height } = this.canvas;
    const shade = this.shade.getContext("2d");
    shade.globalCompositeOperation = "source-over";
    shade.clearRect(0, 0, width, height);
    shade.fillStyle = SHADE;
    shade.fillRect(0, 0, width, height);
    shade.globalCompositeOperation = "destination-out";
    shade.drawImage(this.mask, 0, 0);
    this.painting.clearRect(0, 0, width, height);
    this.painting.drawImage(this.picture, 0, 0, width, height);
    this.painting.drawImage(this.shade, 0, 0);
    if (!this.cursor) return;
    for (const [color, line] of [["#000", 3], ["#fff", 1.5]]) {
      this.painting.beginPath();
      this.painting.arc(...this.cursor, this.radius, 0, 2 * Math.PI);
      this.painting.strokeStyle = color;
      this.painting.lineWidth = line * Math.max(1, width / 400);
      this.painting.stroke();
    }
  }
}
