'use strict';
// Draws each figure once it has a width, which a folded one has not, and keeps
// it as wide as the page.
(function () {
  const figures = JSON.parse(document.getElementById('figures').textContent);
  const config = {displayModeBar: false, responsive: false};
  const holders = Array.from(document.querySelectorAll('[data-figure]'));

  function fit(holder) {
    const width = holder.clientWidth;
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

  // Nothing can be unfolded on paper.
  let folded = [];
  window.addEventListener('beforeprint', function () {
    folded = Array.from(document.querySelectorAll('details:not([open])'));
    folded.forEach(function (details) { details.open = true; });
    holders.forEach(fit);
  });
  window.addEventListener('afterprint', function () {
    folded.forEach(function (details) { details.open = false; });
  });
})();
