// Zoom, pan, keyboard, theme. What is shown is in the address, so that a reload shows the same; only the theme is a cookie.
'use strict';
(() => {
  const root = document.documentElement, find = (s) => document.querySelector(s);
  const on = (kind, act, first) => document.addEventListener(kind, act, first);
  const div = (box, name) => { const e = document.createElement('div'); e.className = name; box.append(e); return e; };
  const left = (r, box) => r.left - box.getBoundingClientRect().left + box.scrollLeft;
  const query = () => new URLSearchParams(location.search);
  const put = (change) => {
    const q = query();
    for (const [name, value] of Object.entries(change)) { if (value === null) q.delete(name); else q.set(name, value); }
    location.search = q;
  };
  const DAY = 86400000, LEAST = 60000, MOST = 400 * DAY;
  // Lengths of a moving range, in minutes.
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 20160, 43200, 129600, 525600].map((m) => m * 60000);
  const nearest = (ms) => STEPS.reduce((a, b) => (Math.abs(b - ms) < Math.abs(a - ms) ? b : a));

  // The axis of the page: [from, to) in ms, and the width of its windows.
  const axis = (el) => { const d = (el || find('main [data-from]') || {}).dataset; return d ? { from: +d.from, to: +d.to, width: +d.width || 10000 } : null; };
  const isLive = () => (query().get('to') || 'now') === 'now';
  const ago = (ms) => { const m = ms / 60000; return 'now-' + (m % 60 === 0 ? m / 60 + 'h' : m + 'm'); };
  const live = (length) => put({ from: ago(nearest(length)), to: 'now', w: null, live: null });
  const fixed = (from, to, width) => put({ from: Math.floor(from / width) * width, to: Math.ceil(to / width) * width, w: null });
  const zoom = (factor) => {
    const a = axis(); if (!a) return;
    const length = Math.min(Math.max((a.to - a.from) * factor, LEAST), MOST), middle = (a.from + a.to) / 2;
    if (isLive()) { const now = STEPS.indexOf(nearest(a.to - a.from)); live(STEPS[now + (factor < 1 ? -1 : 1)] || STEPS[now]); } else fixed(middle - length / 2, middle + length / 2, a.width);
  };
  const pan = (part) => {
    const a = axis(); if (!a) { const link = find(part < 0 ? 'a[rel=prev]' : 'a[rel=next]'); if (link) link.click(); return; }
    const length = a.to - a.from, to = a.to + length * part;
    if (to >= Date.now()) live(length); else fixed(to - length, to, a.width);
  };

  // Drag: part of the axis. A click stays a click.
  let start = null, shade = null, dragged = false;
  const plot = (e) => { const svg = e.target.closest && e.target.closest('svg.p'), box = svg && svg.closest('[data-from]'); return box ? { svg: svg.ownerSVGElement || svg, box } : null; };
  const drop = () => { if (shade) shade.remove(); start = shade = null; delete root.dataset.brush; };
  const at = (x) => { const r = start.rect; return Math.min(Math.max((x - r.left) / r.width, 0), 1); };
  const ends = (x) => [at(start.x), at(x)].sort((a, b) => a - b);
  on('pointerdown', (e) => {
    const p = e.button === 0 && e.isPrimary && plot(e);
    dragged = false;
    if (p) start = { ...p, x: e.clientX, rect: p.svg.getBoundingClientRect() };
  });
  on('pointermove', (e) => {
    if (!start || (!shade && Math.abs(e.clientX - start.x) < 5)) return;
    if (!shade) { shade = div(start.box, 'brush'); root.dataset.brush = ''; }
    const [a, b] = ends(e.clientX), r = start.rect;
    shade.style.left = left(r, start.box) + a * r.width + 'px';
    shade.style.width = (b - a) * r.width + 'px';
  });
  on('pointerup', (e) => {
    if (!shade) { start = null; return; }
    const a = axis(start.box), [l, r] = ends(e.clientX), ms = (p) => a.from + p * (a.to - a.from);
    dragged = true; setTimeout(() => { dragged = false; }); drop();
    if (r > l) fixed(ms(l), ms(r), a.width);
  });
  on('pointercancel', drop);
  on('dragstart', (e) => { if (plot(e)) e.preventDefault(); });
  on('click', (e) => { if (dragged) { e.preventDefault(); e.stopPropagation(); } }, true);

  // The window under the pointer: one line through every plot, and its time.
  const clock = (ms) => { const m = /^([+-])(\d\d):(\d\d)$/.exec(query().get('tz') || ''); return new Date(ms + (m ? (m[1] + 1) * (m[2] * 60 + +m[3]) * 60000 : 0)).toISOString().slice(11, 19); };
  on('pointermove', (e) => {
    const p = !shade && e.pointerType === 'mouse' && plot(e), r = p && p.svg.getBoundingClientRect(), a = p && axis(p.box);
    const ms = p && Math.floor((a.from + (e.clientX - r.left) / r.width * (a.to - a.from)) / a.width) * a.width;
    for (const box of document.querySelectorAll('main [data-from]')) {
      let line = box.querySelector(':scope > .cross');
      if (!p || ms < a.from || ms >= a.to) { if (line) line.remove(); continue; }
      if (!line) line = div(box, 'cross');
      line.dataset.at = clock(ms);
      line.style.left = left(r, box) + (ms + a.width / 2 - a.from) / (a.to - a.from) * r.width + 'px';
    }
  });


  const help = find('#keys'), go = { o: '/', l: '/lag', r: '/reporters', p: '/pipelines', q: '/quarantine', d: '/report', a: '/about' };
  const visit = (key) => {
    const link = key === 't' ? find('.crumb a.up, a.topicname') : go[key] && find('.nav a[href="' + go[key] + '"]');
    if (link) location.href = link.getAttribute('href');
  };
  const escape = () => {
    const q = query();
    if (shade) drop();
    else if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
    else if (q.has('w')) put({ w: null });
    else if (q.has('kiosk')) put({ kiosk: null });
  };
  const filter = () => { const field = find('main .wide') || find('main .field'); if (field) { field.focus(); field.select(); } };
  const keys = {
    '?': () => help && help.showModal(), '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), '[': () => pan(-0.5), ']': () => pan(0.5),
    l: () => { const a = axis(); if (a && !isLive()) live(a.to - a.from); else put({ live: query().get('live') === '0' ? null : '0' }); },
    f: filter, '/': filter, k: () => put({ kiosk: query().has('kiosk') ? null : '1' }), Escape: escape,
  };
  let g = 0;
  on('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || (help && help.open)) return;
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName);
    if (typing && e.key !== 'Escape') return;
    if (Date.now() - g < 1500) { g = 0; visit(e.key); return; }
    if (e.key === 'g') { g = Date.now(); return; }
    if (Object.hasOwn(keys, e.key)) { e.preventDefault(); keys[e.key](); }
  });

  // What can be scrolled can be reached by keyboard, and has a name there.
  const reach = () => document.querySelectorAll('.scroll').forEach((e) => {
    const name = e.closest('section') && e.closest('section').querySelector('h2');
    if (e.scrollWidth <= e.clientWidth) { e.removeAttribute('tabindex'); return; }
    e.tabIndex = 0; e.setAttribute('role', 'region'); if (name) e.setAttribute('aria-label', name.textContent);
  });
  reach(); addEventListener('resize', reach); new MutationObserver(reach).observe(document.body, { childList: true });

  // Buttons that need the script.
  const button = (selector, act) => { const b = find(selector); if (b) { b.hidden = false; b.addEventListener('click', act); } };
  button('.top .help', () => keys['?']());
  button('.top .theme', () => {
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = dark ? 'light' : 'dark';
    document.cookie = 'theme=' + root.dataset.theme + '; Path=/; Max-Age=31536000; SameSite=Lax' + (location.protocol === 'https:' ? '; Secure' : '');
  });
  on('click', async (e) => {
    const link = e.target.closest && e.target.closest('a.copy');
    if (!link || !navigator.clipboard || e.button || e.metaKey || e.ctrlKey || e.shiftKey) return;
    e.preventDefault();
    try {
      const text = await (await fetch(link.href, { cache: 'no-store' })).text();
      await navigator.clipboard.writeText(text.replace('http://' + location.host, location.origin));
      link.textContent = 'copied';
    } catch { location.href = link.href; }
  });
})();
