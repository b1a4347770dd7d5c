'use strict';
// Data is always set as text, never as markup. The address holds the whole state
// of the page, so that links and the browser's back and forward buttons work.
(function () {
  const LIMIT = 50;
  const at = function (id) { return document.getElementById(id); };
  const filters = ['seeds', 'group', 'task', 'category', 'right', 'in_format', 'text'];
  const selects = filters.filter(function (name) { return name !== 'text'; });
  const numSeeds = new Map();
  let firstCell = '';
  let offset = 0;
  let shown = null;
  let asked = 0;
  let restored = 0;
  let isTyping = false;

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

  function sayError(error) { say(error.message, true); }

  function address() {
    const fields = new URLSearchParams({cell: at('cell').value});
    filters.forEach(function (name) {
      if (at(name).value) fields.set(name, at(name).value);
    });
    if (offset) fields.set('offset', offset);
    if (shown) {
      fields.set('shown_task', shown[0]);
      fields.set('shown_id', shown[1]);
    }
    return '?' + fields;
  }

  function remember(isSameStep) {
    const next = address();
    if (next === location.search) return;
    history[isSameStep ? 'replaceState' : 'pushState'](null, '', next);
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

  // Selects a value of the address, even one that does not exist.
  function pick(select, value) {
    select.value = value;
    if (select.value === value) return;
    select.append(new Option(value + ' (not found)', value));
    select.value = value;
  }

  function plain(values) {
    return values.map(function (value) { return {label: value || '(none)', value: value}; });
  }

  function mark(row) {
    let text = row.right ? '✓ right' : '✗ wrong';
    if (row.in_format === false) text += ', out of format';
    return make('span', text, 'mark ' + (row.right ? 'right' : 'wrong'));
  }

  function count(number) {
    return number.toLocaleString('en') + (number === 1 ? ' prediction' : ' predictions');
  }

  function share(part, whole) { return (100 * part / whole).toFixed(1) + '%'; }

  function summary(answer) {
    if (!answer.total) {
      return 'No match: none of the ' + count(answer.num_rows) + ' passes all filters.';
    }
    let text = count(answer.total) + ', ' + share(answer.num_right, answer.total) + ' right';
    if (answer.num_judged) {
      text += ', ' + share(answer.num_in_format, answer.num_judged) + ' in format';
      if (answer.num_judged < answer.total) {
        text += ' (of the ' + answer.num_judged.toLocaleString('en') + ' with a label space)';
      }
    }
    return text + '.';
  }

  async function list() {
    const number = ++asked;
    const cell = at('cell').selectedOptions[0];
    // On a phone, the menu truncates the label.
    at('label').textContent = cell ? cell.textContent : '';
    if (at('seeds').value) at('label').textContent += ' and the other seeds';
    at('of_seeds').hidden = !(numSeeds.get(at('cell').value) > 1 || at('seeds').value);
    const fields = {cell: at('cell').value, offset: offset, limit: LIMIT};
    filters.forEach(function (name) { fields[name] = at(name).value; });
    try {
      const answer = await ask('rows', fields);
      // A later request has overtaken this one.
      if (number !== asked) return;
      if (offset && offset >= answer.total) {
        // The address asks for a page beyond the last one.
        offset = 0;
        remember(true);
        await list();
        return;
      }
      at('rows').replaceChildren(...answer.rows.map(item));
      const last = Math.min(offset + LIMIT, answer.total);
      say(summary(answer));
      at('clear').hidden = Boolean(answer.total);
      at('pages').hidden = answer.total <= LIMIT;
      at('page').textContent = answer.total ? (offset + 1) + '–' + last : '';
      at('before').disabled = offset === 0;
      at('after').disabled = last >= answer.total;
    } catch (error) {
      if (number !== asked) return;
      at('rows').replaceChildren();
      at('pages').hidden = true;
      sayError(error);
    }
  }

  function isShown(key) {
    return shown !== null && shown[0] === key[0] && shown[1] === key[1];
  }

  function item(row) {
    const button = make('button');
    button.type = 'button';
    button.append(mark(row), make('span', row.prediction || '(empty)'));
    button.append(make('div', 'Reference: ' + row.targets.join(' | '), 'meta'));
    button.append(make('div', 'Input: ' + row.input, 'meta'));
    const seed = at('seeds').value ? ' · seed ' + row.seed : '';
    button.append(make('div', row.task + seed, 'meta'));
    if (isShown(row.key)) button.setAttribute('aria-current', 'true');
    button.addEventListener('click', function () {
      document.querySelectorAll('#rows [aria-current]').forEach(function (other) {
        other.removeAttribute('aria-current');
      });
      button.setAttribute('aria-current', 'true');
      shown = row.key;
      step();
      show();
    });
    const element = make('li');
    element.append(button);
    return element;
  }

  async function show() {
    const holder = at('instance');
    const key = shown;
    document.querySelector('main').classList.toggle('alone', key === null);
    holder.hidden = key === null;
    if (key === null) return;
    try {
      const answer = await ask('instance', {
        cell: at('cell').value, seeds: at('seeds').value, task: key[0], id: key[1]
      });
      if (key !== shown) return;
      holder.replaceChildren(make('h2', answer.id));
      holder.append(make('p', [answer.task, answer.category, answer.kind].join(' · '), 'meta'));
      if (answer.label_space.length) {
        holder.append(make('h3', 'Label space'), make('p', answer.label_space.join(' | ')));
      }
      holder.append(make('h3', 'References'), make('p', answer.targets.join(' | ')));
      holder.append(make('h3', 'Answers of every model'));
      const table = make('table');
      const sorted = answer.cells.filter(function (cell) { return cell.is_requested; });
      sorted.push(...answer.cells.filter(function (cell) { return !cell.is_requested; }));
      sorted.forEach(function (cell) {
        const row = table.insertRow();
        if (cell.is_requested) row.className = 'requested';
        row.append(make('th', cell.label));
        const data = row.insertCell();
        data.append(mark(cell), make('span', cell.prediction || '(empty)'));
        if (cell.raw_prediction) data.append(make('div', 'with all tokens: ' + cell.raw_prediction, 'meta'));
        data.append(make('div', 'ROUGE-L ' + cell.rouge_l.toFixed(1), 'meta'));
        const details = make('details');
        details.open = cell.is_requested;
        details.append(make('summary', 'prompt'), make('pre', cell.inputs));
        data.append(details);
      });
      holder.append(table);
    } catch (error) {
      holder.replaceChildren(make('p', error.message, 'wrong'));
    }
    if (window.matchMedia('(max-width: 760px)').matches) holder.scrollIntoView();
  }

  async function names() {
    const answer = await ask('names', {cell: at('cell').value});
    fill(at('task'), plain(answer.tasks), 'all');
    fill(at('category'), plain(answer.categories), 'all');
  }

  // Restores the whole state from the address.
  async function restore() {
    const number = ++restored;
    const fields = new URLSearchParams(location.search);
    isTyping = false;
    clearTimeout(typing);
    pick(at('cell'), fields.get('cell') || firstCell);
    await names();
    if (number !== restored) return;
    selects.forEach(function (name) { pick(at(name), fields.get(name) || ''); });
    at('text').value = fields.get('text') || '';
    const start = fields.get('offset') || '';
    offset = /^\d{1,9}$/.test(start) ? Number(start) : 0;
    shown = fields.has('shown_id') ? [fields.get('shown_task') || '', fields.get('shown_id')] : null;
    remember(true);
    show();
    await list();
  }

  // Records a step of the reader, to which "back" returns.
  function step() {
    restored++;
    isTyping = false;
    remember();
  }

  function restart() {
    offset = 0;
    step();
    list();
  }

  let typing = 0;
  at('text').addEventListener('input', function () {
    clearTimeout(typing);
    typing = setTimeout(function () {
      offset = 0;
      // The letters of one search are a single step.
      remember(isTyping);
      isTyping = true;
      list();
    }, 200);
  });
  at('filters').addEventListener('submit', function (event) {
    event.preventDefault();
    clearTimeout(typing);
    restart();
  });
  at('cell').addEventListener('change', function () {
    names().then(function () { restart(); show(); }).catch(sayError);
  });
  selects.forEach(function (name) { at(name).addEventListener('change', restart); });
  at('seeds').addEventListener('change', function () { show(); });
  at('clear').addEventListener('click', function () {
    filters.forEach(function (name) { at(name).value = ''; });
    restart();
  });
  at('before').addEventListener('click', function () {
    offset = Math.max(0, offset - LIMIT);
    step();
    list();
  });
  at('after').addEventListener('click', function () { offset += LIMIT; step(); list(); });
  window.addEventListener('popstate', function () { restore().catch(sayError); });

  ask('study', {}).then(function (study) {
    at('name').textContent = study.name;
    document.title = 'Predictions of ' + study.name;
    at('report').hidden = !study.has_report;
    at('notes').replaceChildren(...study.notes.map(function (note) { return make('li', note); }));
    at('notes').hidden = !study.notes.length;
    firstCell = study.first_cell;
    study.cells.forEach(function (cell) { numSeeds.set(cell.cell, cell.num_seeds); });
    fill(at('cell'), study.cells.map(function (cell) {
      return {label: cell.label, value: cell.cell};
    }));
    return restore();
  }).catch(sayError);
})();
