// Live pages. Without this script a page reloads itself; with it, it hears of a new revision of the store, fetches
// its own address again and swaps <main>. Nothing here builds markup from text.
'use strict';
(() => {
  const script = document.currentScript;
  const dot = document.querySelector('.live i');
  const state = document.querySelector('.live .state');
  const at = document.querySelector('.live .at');
  const QUIET_MS = 30000; // refetch at least this often: ages and open windows move without a revision
  let source = null, seen = null, due = false, busy = false, held = false, fetched = Date.now(), failed = false;

  const say = (word) => {
    dot.hidden = state.hidden = false;
    dot.className = word;
    if (state.textContent !== word) state.textContent = word;
  };
  const selecting = () => { const s = getSelection(); return !!s && !s.isCollapsed; };
  const typing = () => !!document.activeElement && document.activeElement.tagName === 'INPUT';
  const stopped = () => new URLSearchParams(location.search).get('live') === '0';
  const paused = () => held || stopped() || 'brush' in document.documentElement.dataset || selecting() || typing();
  const show = () => {
    const open = source && source.readyState === EventSource.OPEN;
    say(!open || failed ? 'reconnecting' : paused() ? 'paused' : 'live');
  };

  const swap = async () => {
    if (busy || paused() || document.hidden) return;
    busy = true; due = false;
    try {
      const url = location.pathname + location.search;
      const answer = await fetch(url, { headers: { 'X-Fragment': 'main' }, cache: 'no-store' });
      const type = answer.headers.get('content-type') || '';
      if (!type.startsWith('text/html')) throw new Error(answer.status);
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main');
      if (!next) throw new Error('no main');
      if (paused()) { due = true; return; }
      const focus = document.activeElement && document.activeElement.closest('main a') ? document.activeElement.getAttribute('href') : null;
      const scrolled = [...document.querySelectorAll('.scroll')].map((e) => e.scrollLeft);
      document.querySelector('main').replaceWith(next);
      document.querySelectorAll('.scroll').forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
      if (focus) { const a = [...next.querySelectorAll('a')].find((e) => e.getAttribute('href') === focus); if (a) a.focus({ preventScroll: true }); }
      zone();
      fetched = Date.now(); failed = false;
      at.textContent = stamp(new Date());
    } catch (e) { failed = true; due = true; } finally { busy = false; show(); }
  };

  // The zone of the page, as in its address: UTC or +02:00.
  const offset = () => { const m = /^([+-])(\d\d):(\d\d)$/.exec(new URLSearchParams(location.search).get('tz') || ''); return m ? (m[1] === '-' ? -1 : 1) * (m[2] * 60 + +m[3]) : 0; };
  const name = (min) => { const a = Math.abs(min), two = (n) => String(n).padStart(2, '0'); return (min < 0 ? '-' : '+') + two(Math.floor(a / 60)) + ':' + two(a % 60); };
  const stamp = (d) => new Date(d.getTime() + offset() * 60000).toISOString().slice(11, 19) + (offset() ? ' UTC' + name(offset()) : ' UTC');
  const zone = () => {
    const nav = document.querySelector('.zones'), here = -new Date().getTimezoneOffset();
    if (!nav || here === 0 || nav.children.length > 1) return;
    const link = document.createElement('a'), q = new URLSearchParams(location.search);
    q.set('tz', name(here));
    link.href = '?' + q; link.textContent = 'local';
    nav.append(link);
  };

  const connect = () => {
    if (source) source.close();
    source = new EventSource(script.dataset.events);
    source.onopen = show;
    source.onerror = () => { show(); if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000); };
    source.addEventListener('revision', (e) => {
      const first = seen === null, main = document.querySelector('main').dataset.revision;
      const news = first ? e.lastEventId !== main : e.data !== seen;
      seen = e.data;
      if (news) { due = true; swap(); }
      show();
    });
  };

  // On a wall nobody reads what a pointer happens to rest on.
  document.addEventListener('pointerover', (e) => { held = !('kiosk' in document.documentElement.dataset) && e.pointerType === 'mouse' && !!e.target.closest && !!e.target.closest('[data-hold]'); show(); });
  document.addEventListener('pointerleave', () => { held = false; show(); });
  document.addEventListener('selectionchange', show);
  document.addEventListener('visibilitychange', () => {
    // A hidden page holds no connection: browsers allow six to one host.
    if (document.hidden) { source.close(); source = null; } else { due = true; connect(); swap(); }
  });
  // A run of windows is one link; a click inside it means the window under the pointer.
  document.addEventListener('click', (e) => {
    const run = e.target.closest && e.target.closest('a.run'), rows = run && run.closest('[data-width]');
    if (!rows || e.button || e.metaKey || e.ctrlKey || e.shiftKey || !e.clientX) return;
    const box = run.ownerSVGElement.getBoundingClientRect(), d = rows.dataset;
    const ms = +d.from + (e.clientX - box.left) / box.width * (d.to - d.from);
    e.preventDefault();
    location.href = run.getAttribute('href').replace(/\/w\/\d+/, '/w/' + Math.floor(ms / d.width) * d.width);
  });
  setInterval(() => { if (due || Date.now() - fetched > QUIET_MS) swap(); show(); }, 1000);
  zone(); connect(); show();
})();
