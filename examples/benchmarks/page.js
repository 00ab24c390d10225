// Draw every figure that the page holds as data.
'use strict';
const figures = JSON.parse(document.getElementById('figures-data').textContent);
const place = document.getElementById('figures');
for (const figure of figures) {
  const box = document.createElement('figure');
  if (figure.wide) box.className = 'wide';
  const title = document.createElement('h3');
  title.textContent = figure.title;
  const plot = document.createElement('div');
  plot.className = 'plot';
  if (figure.height) plot.style.height = figure.height + 'px';
  const caption = document.createElement('figcaption');
  caption.className = 'quiet';
  caption.textContent = figure.caption;
  box.append(title, plot, caption);
  place.append(box);
  Plotly.newPlot(plot, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
}
