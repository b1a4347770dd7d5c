'use strict';
// Whatever comes from data is set as text, never as markup.
(function () {
  const LIMIT = 50;
  const at = function (id) { return document.getElementById(id); };
  const filters = ['cell', 'task', 'category', 'right', 'in_format', 'text'];
  let offset = 0;
  let asked = 0;

  function make(tag, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  }

  async function ask(path, fields) {
    const response = await fetch(path + '?' + new URLSearchParams(fields));
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }

  function say(text, isError) {
    at('status').textContent = text;
    at('status').className = isError ? 'error' : '';
  }

  function fill(select, values, first) {
    const before = select.value;
    select.replaceChildren();
    if (first) select.append(new Option(first, ''));
    values.forEach(function (value) {
      select.append(new Option(value.label, value.value));
    });
    if (values.some(function (value) { return value.value === before; })) {
      select.value = before;
    }
  }

  function plain(values) {
    return values.map(function (value) { return {label: value || '(none)', value: value}; });
  }

  function mark(row) {
    let text = row.right ? '✓ right' : '✗ wrong';
    if (row.in_format === false) text += ', out of format';
    return make('span', text, 'mark ' + (row.right ? 'right' : 'wrong'));
  }

  async function list() {
    const number = ++asked;
    const fields = {offset: offset, limit: LIMIT};
    filters.forEach(function (name) { fields[name] = at(name).value; });
    try {
      const answer = await ask('rows', fields);
      // A later question has overtaken this one.
      if (number !== asked) return;
      at('rows').replaceChildren(...answer.rows.map(item));
      const last = Math.min(offset + LIMIT, answer.total);
      say(answer.total.toLocaleString('en') + ' predictions');
      at('page').textContent = answer.total ? (offset + 1) + '–' + last : '';
      at('before').disabled = offset === 0;
      at('after').disabled = last >= answer.total;
    } catch (error) {
      if (number === asked) say(error.message, true);
    }
  }

  function item(row) {
    const button = make('button');
    button.type = 'button';
    button.append(mark(row), make('span', row.prediction || '(empty)'));
    button.append(make('div', 'Reference: ' + row.targets.join(' | '), 'meta'));
    button.append(make('div', row.task + ' · ' + row.id, 'meta'));
    button.addEventListener('click', function () {
      document.querySelectorAll('#rows [aria-current]').forEach(function (other) {
        other.removeAttribute('aria-current');
      });
      button.setAttribute('aria-current', 'true');
      show(row.key);
    });
    const element = make('li');
    element.append(button);
    return element;
  }

  async function show(key) {
    const holder = at('instance');
    try {
      const answer = await ask('instance', {cell: at('cell').value, task: key[0], id: key[1]});
      holder.replaceChildren(make('h2', answer.id));
      holder.append(make('p', [answer.task, answer.category, answer.kind].join(' · '), 'meta'));
      if (answer.label_space.length) {
        holder.append(make('h3', 'Label space'), make('p', answer.label_space.join(' | ')));
      }
      holder.append(make('h3', 'References'), make('p', answer.targets.join(' | ')));
      holder.append(make('h3', 'Every condition, and what the model saw'));
      const table = make('table');
      const cells = answer.cells.filter(function (cell) { return cell.is_asked; });
      cells.push(...answer.cells.filter(function (cell) { return !cell.is_asked; }));
      cells.forEach(function (cell) {
        const row = table.insertRow();
        if (cell.is_asked) row.className = 'asked';
        row.append(make('th', cell.label));
        const data = row.insertCell();
        data.append(mark(cell), make('span', cell.prediction || '(empty)'));
        data.append(make('div', 'ROUGE-L ' + cell.rouge_l.toFixed(1), 'meta'));
        const details = make('details');
        details.open = cell.is_asked;
        details.append(make('summary', 'prompt'), make('pre', cell.inputs));
        data.append(details);
      });
      holder.append(table);
    } catch (error) {
      holder.replaceChildren(make('p', error.message, 'wrong'));
    }
    holder.hidden = false;
    document.querySelector('main').classList.remove('alone');
    if (window.matchMedia('(max-width: 760px)').matches) holder.scrollIntoView();
  }

  async function choose() {
    const names = await ask('names', {cell: at('cell').value});
    fill(at('task'), plain(names.tasks), 'all');
    fill(at('category'), plain(names.categories), 'all');
    restart();
  }

  function restart() {
    offset = 0;
    list();
  }

  let typing = 0;
  at('text').addEventListener('input', function () {
    clearTimeout(typing);
    typing = setTimeout(restart, 200);
  });
  at('filters').addEventListener('submit', function (event) {
    event.preventDefault();
    restart();
  });
  at('cell').addEventListener('change', function () {
    choose().catch(function (error) { say(error.message, true); });
  });
  ['task', 'category', 'right', 'in_format'].forEach(function (name) {
    at(name).addEventListener('change', restart);
  });
  at('before').addEventListener('click', function () { offset = Math.max(0, offset - LIMIT); list(); });
  at('after').addEventListener('click', function () { offset += LIMIT; list(); });

  document.querySelector('main').classList.add('alone');
  ask('study', {}).then(function (study) {
    at('name').textContent = study.name;
    document.title = 'Predictions of ' + study.name;
    fill(at('cell'), study.cells.map(function (cell) {
      return {label: cell.label, value: cell.cell};
    }));
    return choose();
  }).catch(function (error) { say(error.message, true); });
})();
