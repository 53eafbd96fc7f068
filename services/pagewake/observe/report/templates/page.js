"use strict";
// What a reader of a page can do beyond reading: point at a value, and move about in a timeline.
// The page is complete without it: every picture is drawn and every figure is in a table.
(() => {
  const SVG = document.querySelector("svg")?.namespaceURI;
  const make = (name, attributes = {}, text = "") => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
  };

  // ------------------------------------------------------------------ what is pointed at

  const box = document.createElement("div");
  box.className = "pointed";
  box.hidden = true;
  document.body.append(box);
  const hide = () => { box.hidden = true; };
  const tell = (text, x, y) => {
    box.textContent = text;
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    box.style.left = `${Math.max(4, Math.min(x + 12, room - width - 4))}px`;
    box.style.top = `${y - height - 12 < 4 ? y + 18 : y - height - 12}px`;
  };
  for (const title of document.querySelectorAll(".tip > title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const over = (event) => {
    const found = event.target.closest?.(".tip");
    if (found) tell(found.dataset.tip, event.clientX, event.clientY);
    else if (!event.target.closest?.(".view")) hide();
  };
  document.addEventListener("pointermove", over);
  document.addEventListener("pointerdown", over);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // ------------------------------------------------------------------ what Tab stops at

  const stop = new ResizeObserver((seen) => {
    for (const { target } of seen) {
      const scrolls = target.scrollWidth > target.clientWidth;
      if (scrolls || target === document.activeElement) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const area of document.querySelectorAll(".scroll, pre[tabindex]")) stop.observe(area);

  // ------------------------------------------------------------------ words

  const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  const unitOf = (ns) => UNITS.find(([, scale]) => Math.abs(ns) >= scale) ?? UNITS[ns ? 3 : 0];
  const plain = (value, digits) => value.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  const lasting = (ns) => {
    const [unit, scale] = unitOf(ns);
    return `${plain(ns / scale, 3)} ${unit}`;
  };
  const instant = (ns, apart = 1) => {
    const [unit, scale] = unitOf(ns);
    const digits = Math.max(0, Math.ceil(Math.log10(scale / Math.max(apart, 1)) - 1e-9));
    return `${plain(ns / scale, digits)} ${unit}`;
  };
  const percent = (share) =>
    share > 0 && share < 0.0005 ? "<0.1 %" : `${plain(100 * share, 1)} %`;

  // ------------------------------------------------------------------ the data

  const unpacked = (numbers) => {
    const found = [];
    for (let at = 0, end = 0; at < numbers.length; at += 3) {
      const from = end + numbers[at + 1];
      end = from + numbers[at + 2];
      found.push({ key: numbers[at], from, until: end });
    }
    return found;
  };
  const runs = (numbers) => {
    const found = [];
    for (let at = 0; at < numbers.length; at += 2) {
      for (let times = numbers[at + 1]; times > 0; times -= 1) found.push(numbers[at]);
    }
    return found;
  };
  const tables = (packed = {}) => Object.entries(packed).map(([key, of]) => [Number(key), runs(of)]);
  const firstAfter = (pieces, at) => {
    let low = 0;
    for (let high = pieces.length; low < high;) {
      const middle = (low + high) >> 1;
      if (pieces[middle].until > at) high = middle; else low = middle + 1;
    }
    return low;
  };
  const lanesOf = (waits, end, apart) => {
    const ends = [];
    for (const wait of waits) {
      let lane = ends.findIndex((taken) => taken < wait.from);
      if (lane < 0) lane = ends.length < LANES ? ends.length : LANES - 1;
      wait.lane = lane;
      ends[lane] = Math.max(ends[lane] ?? 0, (wait.until ?? end) + apart);
    }
    return ends.length;
  };

  const LEFT = 58, RIGHT = 44, BAR = 16, TASK = 14, LANE = 7, GAP = 10, ASLEEP = 40, AXIS = 40;
  const LANES = 6, WAITS_MAX = 400, SHORTEST_NS = 100;

  class Timeline {
    constructor(figure, data) {
      this.figure = figure;
      this.data = data;
      this.view = figure.querySelector(".view");
      this.status = figure.querySelector(".readout");
      this.vcpus = data.vcpus.map((vcpu) => {
        const waits = vcpu.waits.map(([from, arrived, until, never = "", lost = 0]) => (
          { from, there: from + arrived, until: until ? from + until : null, never, lost }));
        return {
          number: vcpu.number, waits, lanes: lanesOf(waits, data.until, (data.shown[1] - data.shown[0]) / 80),
          spans: unpacked(vcpu.spans), ran: unpacked(vcpu.ran),
          states: tables(vcpu.overview), tasks: tables(vcpu.tasks),
        };
      });
      this.asleep = runs(data.asleep);
      this.sleepers = [];
      for (let at = 0, time = 0; at < data.sleepers.length; at += 2) {
        time += data.sleepers[at];
        this.sleepers.push([time, data.sleepers[at + 1]]);
      }
      this.from = data.shown[0];
      this.until = data.shown[1];
      this.begin = data.column ? 0 : data.from;
      this.cursor = null;
      this.svg = make("svg", { role: "img" });
      this.view.append(this.svg);
      this.listen();
      new ResizeObserver(() => this.draw()).observe(this.view);
      this.draw();
      this.report();
    }

    // ---------------------------------------------------------------- where one is

    show(from, until) {
      const longest = this.data.end - this.begin;
      const length = Math.min(longest, Math.max(until - from, SHORTEST_NS));
      from += (until - from - length) / 2;
      this.cursor = null;
      this.from = Math.max(this.begin, Math.min(from, this.data.end - length));
      this.until = this.from + length;
      hide();
      this.draw();
      this.report();
    }

    zoom(factor, around = (this.from + this.until) / 2) {
      const length = Math.max((this.until - this.from) * factor, SHORTEST_NS);
      const share = (around - this.from) / (this.until - this.from);
      this.show(around - share * length, around + (1 - share) * length);
    }

    pan(share) {
      const length = this.until - this.from;
      this.show(this.from + share * length, this.until + share * length);
    }

    whole() { this.show(this.begin, this.data.end); }

    first() { this.show(...this.data.shown); }

    timeAt(x) { return this.from + ((x - LEFT) / this.width) * (this.until - this.from); }

    x(time) { return LEFT + ((time - this.from) / (this.until - this.from)) * this.width; }

    // ---------------------------------------------------------------- shares of a stretch

    // Calls `take(key, from, until, weight)` for all of [from, until): exact where it is known
    // exactly, thousandths of a column elsewhere.
    each(pieces, columns, from, until, take) {
      const { data } = this;
      const low = Math.max(from, data.from), high = Math.min(until, data.until);
      for (let at = firstAfter(pieces, low); at < pieces.length && pieces[at].from < high; at += 1) {
        take(pieces[at].key, Math.max(pieces[at].from, low), Math.min(pieces[at].until, high), 1);
      }
      for (const [start, stop] of [[from, Math.min(until, data.from)], [Math.max(from, data.until), until]]) {
        if (!data.column || stop <= start) continue;
        for (let at = Math.floor(start / data.column); at * data.column < stop; at += 1) {
          const begin = Math.max(start, at * data.column), end = Math.min(stop, (at + 1) * data.column);
          for (const [key, shares] of columns) {
            if (shares[at]) take(key, begin, end, shares[at] / 1000);
          }
        }
      }
    }

    sums(pieces, columns, from, until) {
      const found = new Map();
      this.each(pieces, columns, from, until, (key, begin, end, weight) => {
        found.set(key, (found.get(key) ?? 0) + (end - begin) * weight);
      });
      return [...found].sort((one, other) => other[1] - one[1]);
    }

    covered(pieces, columns) {
      const wide = Math.ceil(this.width), per = (this.until - this.from) / this.width;
      const found = new Map();
      this.each(pieces, columns, this.from, this.until, (key, begin, end, weight) => {
        let pixels = found.get(key);
        if (!pixels) found.set(key, pixels = new Float64Array(wide + 1));
        const low = (begin - this.from) / per, high = (end - this.from) / per;
        for (let at = Math.floor(low); at < high && at <= wide; at += 1) {
          pixels[at] += weight * (Math.min(high, at + 1) - Math.max(low, at));
        }
      });
      return found;
    }

    // ---------------------------------------------------------------- drawing

    draw() {
      const room = this.view.clientWidth;
      if (!room) return;
      this.width = Math.max(room - LEFT - RIGHT, 40);
      this.svg.replaceChildren();
      let top = this.drawSleepers();
      this.rows = [];
      for (const vcpu of this.vcpus) {
        const row = { vcpu, top, tasks: top + BAR + 1, waits: top + BAR + TASK + 1 };
        row.bottom = row.waits + vcpu.lanes * LANE;
        this.rows.push(row);
        this.svg.append(make("text", { x: LEFT - 6, y: top + 12, "text-anchor": "end" }, `vcpu ${vcpu.number}`));
        this.drawBar(vcpu.spans, vcpu.states, this.data.states, row.top, BAR);
        this.drawBar(vcpu.ran, vcpu.tasks, this.data.tasks, row.tasks, TASK - 2);
        this.drawNames(vcpu, row);
        this.drawWaits(vcpu, row);
        top = row.bottom + GAP;
      }
      this.drawMarks(top);
      this.drawAxis(top);
      this.drawCursor();
      this.svg.setAttribute("viewBox", `0 0 ${room} ${top + AXIS}`);
      this.svg.setAttribute("height", top + AXIS);
      this.svg.setAttribute("aria-label", `What the vcpus of ${this.data.vm} did, from ${this.range()}`);
    }

    drawBar(pieces, columns, kinds, top, height) {
      const covered = this.covered(pieces, columns);
      const below = new Float64Array(Math.ceil(this.width) + 1);
      for (let key = 0; key < kinds.length; key += 1) {
        const pixels = covered.get(key);
        if (!pixels) continue;
        let path = "";
        for (let at = 0; at < pixels.length;) {
          const share = pixels[at], base = below[at];
          let next = at + 1;
          while (next < pixels.length && pixels[next] === share && below[next] === base) next += 1;
          if (share > 0.001) {
            const tall = Math.max(Math.min(share, 1) * height, 0.8);
            path += `M${LEFT + at} ${(top + height * (1 - base) - tall).toFixed(2)}h${Math.min(next, this.width) - at}v${tall.toFixed(2)}h${at - Math.min(next, this.width)}z`;
          }
          for (; at < next; at += 1) below[at] += pixels[at];
        }
        this.svg.append(make("path", { d: path, style: `fill: var(--${this.colour(kinds, key)})` }));
      }
    }

    colour(kinds, key) { return kinds === this.data.states ? kinds[key][0] : kinds[key][1]; }

    drawNames(vcpu, row) {
      const { data } = this;
      for (let at = firstAfter(vcpu.ran, this.from); at < vcpu.ran.length; at += 1) {
        const piece = vcpu.ran[at];
        if (piece.from >= this.until) break;
        const [name, colour] = data.tasks[piece.key];
        const low = Math.max(this.x(Math.max(piece.from, data.from)), LEFT);
        const high = Math.min(this.x(Math.min(piece.until, data.until)), LEFT + this.width);
        if (high - low < 6.2 * name.length + 8) continue;
        this.svg.append(make("text", {
          x: low + 4, y: row.tasks + 10, class: "small", style: `fill: var(--on-${colour})`,
        }, name));
      }
    }

    sees(wait) { return wait.from < this.until && (wait.until ?? this.data.until) > this.from; }

    drawWaits(vcpu, row) {
      const seen = vcpu.waits.filter((wait) => this.sees(wait));
      const shown = seen.length > WAITS_MAX ? seen.filter((wait) => wait.lost) : seen;
      const clip = (time) => Math.max(LEFT, Math.min(LEFT + this.width, this.x(time)));
      let coming = "", waiting = "", ends = "", bars = "", lost = "";
      for (const wait of shown) {
        const y = row.waits + (wait.lane + 0.5) * LANE;
        const low = clip(wait.from), high = clip(wait.until ?? this.data.until), there = clip(Math.min(wait.there, wait.until ?? Infinity));
        coming += `M${low} ${y}H${there}`;
        waiting += `M${there} ${y}H${high}`;
        if (wait.until === null || wait.until > this.until) continue;
        if (wait.lost) lost += `M${high - 4} ${y - 4}l8 8m0 -8l-8 8`;
        else if (wait.never) bars += `M${high} ${y - 3}v6`;
        else ends += `M${high} ${y}l-5 -3v6z`;
      }
      const line = (d, width, colour = "flight") =>
        make("path", { d, style: `fill: none; stroke: var(--${colour}); stroke-width: ${width}` });
      this.svg.append(line(coming, 2.4), line(waiting, 0.9), line(bars, 2), line(lost, 2.4, "blackout"));
      this.svg.append(make("path", { d: ends, style: "fill: var(--flight)" }));
    }

    drawMarks(bottom) {
      this.data.marks.forEach(([at, words], index) => {
        if (at < this.from || at >= this.until) return;
        const x = this.x(at);
        this.svg.append(make("path", {
          d: `M${x} ${this.top0}V${bottom}`, class: "mark",
          style: "fill: none; stroke: var(--blackout); stroke-dasharray: 3 3",
        }));
        const label = make("text", { x: x - 3, y: bottom - 1, "text-anchor": "end", class: "tip" }, `${index + 1}`);
        label.dataset.tip = `${instant(at)}: ${words}`;
        this.svg.append(label);
      });
    }

    drawSleepers() {
      this.top0 = 14;
      const steps = this.steps();
      const most = Math.max(...steps.map(([, number]) => number));
      if (!most) return this.top0;
      let path = `M${LEFT} ${this.top0 + ASLEEP}`;
      for (const [time, number] of steps) {
        path += `H${Math.max(LEFT, this.x(time)).toFixed(2)}V${(this.top0 + ASLEEP * (1 - number / most)).toFixed(2)}`;
      }
      path += `H${LEFT + this.width}V${this.top0 + ASLEEP}z`;
      this.svg.append(make("path", { d: path, style: "fill: var(--idle)" }));
      this.svg.append(make("text", { x: LEFT, y: 10 }, "tasks asleep"));
      this.svg.append(make("text", { x: LEFT - 6, y: this.top0 + 9, "text-anchor": "end" }, `${most}`));
      return this.top0 + ASLEEP + GAP;
    }

    // Instants and how many tasks sleep from then on, no more of them than pixels.
    steps() {
      const { data } = this, found = new Map(), per = (this.until - this.from) / this.width;
      const put = (time, number) => {
        const at = Math.max(0, Math.floor((time - this.from) / per));
        found.set(at, Math.max(number, found.get(at) ?? 0));
      };
      let before = 0;
      for (const [time, number] of this.sleepers) {
        if (time <= this.from) before = number;
        else if (time < this.until) {
          put(time, number);
          found.set(Math.floor((time - this.from) / per) + 1, number);
        }
      }
      if (this.from >= data.from) found.set(0, Math.max(before, found.get(0) ?? 0));
      if (data.column) {
        for (let at = Math.floor(this.from / data.column); at * data.column < this.until; at += 1) {
          const time = Math.max(at * data.column, this.from);
          if (time < data.from || time >= data.until) put(time, this.asleep[at] ?? 0);
        }
      }
      return [...found].sort((one, other) => one[0] - other[0]).map(([at, number]) => [this.from + at * per, number]);
    }

    drawAxis(top) {
      const { data } = this, length = this.until - this.from;
      const rough = length / Math.max(3, this.width / 110), power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
      const [unit, scale] = unitOf(this.until);
      const digits = Math.max(0, -Math.floor(Math.log10(step / scale) + 1e-9));
      this.svg.append(make("path", {
        d: `M${LEFT} ${top}H${LEFT + this.width}`, style: "fill: none; stroke: var(--line)",
      }));
      const low = Math.max(LEFT, this.x(data.from)), high = Math.min(LEFT + this.width, this.x(data.until));
      if (data.column && high > low) {
        this.svg.append(make("path", {
          d: `M${low} ${top}H${high}`, class: "detail", style: "stroke: var(--accent); stroke-width: 3",
        }));
      }
      for (let tick = Math.ceil(this.from / step - 1e-9) * step; tick <= this.until + 1e-6; tick += step) {
        const x = this.x(tick);
        this.svg.append(make("path", { d: `M${x} ${top}v5`, style: "fill: none; stroke: var(--line)" }));
        this.svg.append(make("text", { x, y: top + 17, "text-anchor": "middle", class: "tick" },
          `${(tick / scale).toFixed(digits)} ${unit}`));
      }
      this.svg.append(make("text", { x: LEFT, y: top + 33 }, "simulated time"));
    }

    // ---------------------------------------------------------------- saying what is seen

    range() {
      const length = this.until - this.from;
      return `${instant(this.from, length / 1000)} to ${instant(this.until, length / 1000)}`;
    }

    report() {
      const sums = new Map();
      for (const vcpu of this.vcpus) {
        for (const [key, ns] of this.sums(vcpu.spans, vcpu.states, this.from, this.until)) {
          sums.set(key, (sums.get(key) ?? 0) + ns);
        }
      }
      const all = [...sums.values()].reduce((one, other) => one + other, 0) || 1;
      const shares = [...sums].sort((one, other) => other[1] - one[1])
        .map(([key, ns]) => `${this.data.states[key][1]} ${percent(ns / all)}`);
      this.tooMany = this.vcpus.some((vcpu) => vcpu.waits.filter(
        (wait) => this.sees(wait)).length > WAITS_MAX);
      const coarse = this.from < this.data.from || this.until > this.data.until;
      this.status.textContent = `${this.range()}, ${lasting(this.until - this.from)} of ${lasting(this.data.end)}: ${shares.join(", ")}.`
        + (coarse && this.data.column ? ` Beyond the blue line, where every event is there, columns of ${lasting(this.data.column)}.` : "")
        + (this.tooMany ? " Too many waits to draw: zoom in to see them." : "");
    }

    point(event) {
      const frame = this.svg.getBoundingClientRect();
      const x = event.clientX - frame.left, y = event.clientY - frame.top;
      if (x < LEFT || x > LEFT + this.width) return hide();
      return tell(this.at(x, y).join("\n"), event.clientX, event.clientY);
    }

    at(x, y) {
      const near = this.data.marks.find(([at]) => Math.abs(this.x(at) - x) < 4);
      const time = this.timeAt(x), per = (this.until - this.from) / this.width;
      const row = this.rows.find((each) => y >= each.top && y < each.bottom + GAP);
      const lines = [`at ${instant(time, per)}`];
      if (near) lines.push(near[1]);
      if (row) lines.push(...this.about(row, time, per, y));
      if (this.asleep.length || this.sleepers.length) lines.push(`${this.asleepAt(time)} asleep`);
      return lines;
    }

    // ---------------------------------------------------------------- pointing by keys

    // A share of the width, and which of the heights that have a value of their own.
    step(across, down) {
      const last = this.heights().length - 1;
      const { share, height } = this.cursor ?? { share: 0.5 - across, height: Math.max(0, -down) };
      this.cursor = {
        share: Math.max(0, Math.min(1, share + across)),
        height: Math.max(0, Math.min(last, height + down)),
      };
      hide();
      this.draw();
      const { x, y } = this.cursorAt();
      this.status.textContent = `${this.at(x, y).join("; ")}.`;
    }

    leave() {
      if (!this.cursor) return;
      this.cursor = null;
      this.draw();
      this.report();
    }

    heights() {
      return this.rows.flatMap((row) => [
        row.top + BAR / 2,
        ...Array.from({ length: row.vcpu.lanes }, (_, lane) => row.waits + (lane + 0.5) * LANE),
      ]);
    }

    cursorAt() {
      return { x: LEFT + this.cursor.share * this.width, y: this.heights()[this.cursor.height] };
    }

    drawCursor() {
      if (!this.cursor) return;
      const { x, y } = this.cursorAt(), bottom = this.rows.at(-1).bottom;
      for (const [colour, width] of [["paper", 5], ["ink", 2]]) {
        this.svg.append(make("path", {
          d: `M${x} ${this.top0}V${bottom}M${x - 9} ${y}h18`, class: "cursor",
          style: `fill: none; stroke: var(--${colour}); stroke-width: ${width}`,
        }));
      }
    }

    asleepAt(time) {
      const { data } = this;
      let number = 0;
      if (time >= data.from && time < data.until) {
        for (const [at, value] of this.sleepers) if (at <= time) number = value;
        return number === 1 ? "1 task" : `${number} tasks`;
      }
      return `at most ${this.asleep[Math.floor(time / data.column)] ?? 0} tasks`;
    }

    about(row, time, per, y) {
      const { vcpu } = row, { data } = this;
      const exact = time >= data.from && time < data.until;
      const told = [];
      const one = (pieces, columns, name) => {
        const piece = exact ? pieces[firstAfter(pieces, time)] : undefined;
        if (piece && piece.from <= time && piece.until - piece.from > per) {
          return `${name(piece.key)} from ${instant(piece.from)} for ${lasting(piece.until - piece.from)}`;
        }
        const width = exact ? per : Math.max(per, data.column);
        const start = exact ? time - per / 2 : Math.floor(time / width) * width;
        return this.sums(pieces, columns, start, start + width).slice(0, 4)
          .map(([key, ns]) => `${name(key)} ${percent(Math.min(1, ns / width))}`).join(", ");
      };
      told.push(`vcpu ${vcpu.number}: ${one(vcpu.spans, vcpu.states, (key) => data.states[key][1])}`);
      const task = one(vcpu.ran, vcpu.tasks, (key) => data.tasks[key][0]);
      if (task) told.push(task);
      if (y >= row.waits) {
        const lane = Math.floor((y - row.waits) / LANE);
        const wait = vcpu.waits.find((each) => each.lane === lane
          && each.from - 3 * per <= time && (each.until ?? data.until) + 3 * per >= time);
        if (wait) {
          told.push(`not present at ${instant(wait.from)}; page there after ${lasting(wait.there - wait.from)}`);
          told.push(wait.never ? `${wait.lost ? "READY never came" : "no READY"}: ${wait.never}`
            : wait.until === null ? "READY later than this" : `READY after ${lasting(wait.until - wait.from)}`);
        }
      }
      return told;
    }

    // ---------------------------------------------------------------- hands

    listen() {
      const keys = {
        ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2),
        "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
        0: () => this.whole(), Home: () => this.first(), Escape: () => this.leave(),
      };
      const steps = {
        ArrowLeft: [-0.01, 0], ArrowRight: [0.01, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
      };
      this.view.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const by = event.shiftKey && steps[event.key];
        const act = by ? () => this.step(...by) : keys[event.key];
        if (act) { act(); event.preventDefault(); }
      });
      const acts = {
        in: () => this.zoom(0.5), out: () => this.zoom(2), left: () => this.pan(-0.5),
        right: () => this.pan(0.5), whole: () => this.whole(), first: () => this.first(),
      };
      for (const button of this.figure.querySelectorAll("button[data-act]")) {
        button.addEventListener("click", acts[button.dataset.act]);
      }
      const timeUnder = (event) => this.timeAt(event.clientX - this.svg.getBoundingClientRect().left);
      this.view.addEventListener("wheel", (event) => {
        if (event.ctrlKey || event.metaKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, timeUnder(event));
        else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          this.pan((event.deltaX || event.deltaY) / this.width);
        } else return;
        event.preventDefault();
      }, { passive: false });
      this.view.addEventListener("dblclick", (event) => this.zoom(0.33, timeUnder(event)));
      const held = new Map();
      this.view.addEventListener("pointerdown", (event) => {
        held.set(event.pointerId, event.clientX);
        this.view.setPointerCapture(event.pointerId);
      });
      const release = (event) => held.delete(event.pointerId);
      for (const name of ["pointerup", "pointercancel"]) this.view.addEventListener(name, release);
      this.view.addEventListener("pointerleave", hide);
      this.view.addEventListener("pointermove", (event) => {
        if (!held.has(event.pointerId)) return this.point(event);
        const before = [...held.values()];
        held.set(event.pointerId, event.clientX);
        const after = [...held.values()];
        const left = this.svg.getBoundingClientRect().left;
        if (before.length === 2) {
          const apart = (two) => Math.max(Math.abs(two[0] - two[1]), 10);
          this.zoom(apart(before) / apart(after), this.timeAt((after[0] + after[1]) / 2 - left));
        } else if (before[0] !== after[0]) this.pan((before[0] - after[0]) / this.width);
        return undefined;
      });
    }
  }

  const data = document.getElementById("timeline-data");
  if (data) {
    const figure = document.querySelector("figure.live");
    for (const still of document.querySelectorAll(".still")) still.hidden = true;
    figure.hidden = false;
    figure.timeline = new Timeline(figure, JSON.parse(data.textContent));
  }
})();
