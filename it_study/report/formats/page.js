'use strict';
// Draws each figure once it has a width (a folded one has none) and keeps it as
// wide as the page.
(function () {
  const figures = JSON.parse(document.getElementById('figures').textContent);
  const config = {displayModeBar: false, responsive: false};
  const holders = Array.from(document.querySelectorAll('[data-figure]'));

  // Width of figures in print, as in page.css. They have to be drawn before the
  // print layout is known.
  const PAPER = 860;
  let isPrinting = false;

  function fit(holder) {
    const width = isPrinting ? PAPER : holder.clientWidth;
    if (!width || holder.dataset.width === String(width)) return;
    const isNew = !holder.dataset.width;
    holder.dataset.width = width;
    if (isNew) {
      const figure = figures[holder.dataset.figure];
      figure.layout.width = width;
      Plotly.newPlot(holder, figure.data, figure.layout, config);
    } else {
      Plotly.relayout(holder, {width: width});
    }
  }

  const observer = new ResizeObserver(function (entries) {
    entries.forEach(function (entry) { fit(entry.target); });
  });
  holders.forEach(function (holder) { fit(holder); observer.observe(holder); });

  // A click on a column's title sorts each section's rows in descending order, a
  // second one in ascending order, a third restores the original order. The
  // search field above a long table filters its rows.
  function value(row, column) {
    const cell = row.cells[column];
    const text = (cell ? cell.firstChild || cell : row).textContent.trim();
    const number = parseFloat(text.replace(/,/g, '').replace('\u2212', '-'));
    return {text: text, number: number};
  }
  function compare(a, b) {
    if (isNaN(a.number) !== isNaN(b.number)) return isNaN(a.number) ? 1 : -1;
    if (!isNaN(a.number)) return a.number - b.number;
    return a.text.localeCompare(b.text);
  }
  function sort(table, column, button) {
    const states = {none: 'descending', descending: 'ascending', ascending: 'none'};
    const head = button.parentNode;
    const state = states[head.getAttribute('aria-sort') || 'none'];
    table.querySelectorAll('thead th').forEach(function (other) {
      other.removeAttribute('aria-sort');
    });
    if (state !== 'none') head.setAttribute('aria-sort', state);
    Array.from(table.tBodies).forEach(function (body) {
      const rows = Array.from(body.rows).filter(function (row) {
        return !row.classList.contains('section');
      });
      rows.sort(function (a, b) {
        if (state === 'none') return a.dataset.place - b.dataset.place;
        const order = compare(value(a, column), value(b, column));
        return state === 'ascending' ? order : -order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  }
  document.querySelectorAll('table').forEach(function (table) {
    const rows = table.querySelectorAll('tbody tr:not(.section)');
    if (rows.length < 2 || !table.tHead) return;
    rows.forEach(function (row, place) { row.dataset.place = place; });
    Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells).forEach(
      function (head, column) {
        if (!head.textContent.trim()) return;
        const button = document.createElement('button');
        button.type = 'button';
        button.title = 'Sort';
        button.append(...head.childNodes);
        head.appendChild(button);
        button.addEventListener('click', function () { sort(table, column, button); });
      }
    );
    if (rows.length < 10) return;
    const input = document.createElement('input');
    input.type = 'search';
    input.placeholder = 'Filter ' + rows.length + ' rows';
    input.setAttribute('aria-label', input.placeholder);
    input.addEventListener('input', function () {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach(function (row) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(function (word) { return text.includes(word); });
      });
      // Hide the titles of sections without a matching row.
      Array.from(table.tBodies).forEach(function (body) {
        body.hidden = !body.querySelector('tr:not(.section):not([hidden])');
      });
    });
    table.parentNode.before(input);
  });

  // A link to a folded section unfolds it.
  function unfold() {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.tagName === 'DETAILS') {
      target.open = true;
      target.scrollIntoView();
    }
  }
  window.addEventListener('hashchange', unfold);
  document.querySelectorAll('a[href^="#"]').forEach(function (link) {
    link.addEventListener('click', function () { setTimeout(unfold); });
  });
  unfold();

  // Unfold everything for printing.
  let folded = [];
  window.addEventListener('beforeprint', function () {
    folded = Array.from(document.querySelectorAll('details:not([open])'));
    folded.forEach(function (details) { details.open = true; });
    isPrinting = true;
    holders.forEach(fit);
  });
  window.addEventListener('afterprint', function () {
    folded.forEach(function (details) { details.open = false; });
    isPrinting = false;
    holders.forEach(fit);
  });
})();
