// Small ways to break the engine: in `file`, `from` (which is there once) becomes `to`; or several `edits` do so.
const ivm = name => `crates/ivm/src/${name}.rs`;

export const mutations = [
  // Connection
  {
    name: 'overlay: a removed row is still shown',
    file: ivm('operators/connection'),
    from: 'self.removed = Some(old.clone());',
    to: 'let _ = old;',
  },
  {
    name: 'overlay: an added row is not shown',
    file: ivm('operators/connection'),
    from: 'self.added = Some(new.clone());',
    to: 'let _ = new;',
  },
  {
    name: 'overlay: visible to connections that the change has not reached',
    file: ivm('pipeline/push'),
    from: '                let change = connection.see(old.as_ref(), new.as_ref());\n',
    to: `                let change = connection.see(old.as_ref(), new.as_ref());
                for (_, other) in self.pipeline().connections(table) {
                    other.see(old.as_ref(), new.as_ref());
                }
`,
  },
  {
    name: 'overlay: an added row behind all others is forgotten',
    file: ivm('operators/connection'),
    from: '            let _ = sink(&last);',
    to: '            let _ = &last;',
  },
  {
    name: 'overlay: an added row ignores the constraint and the start',
    file: ivm('operators/connection'),
    from: 'added.filter(|row| request.admits(row))',
    to: 'added.filter(|row| self.filter.matches(row))',
  },
  {
    name: 'overlay: left in place after the change',
    file: ivm('pipeline/push'),
    from: '                    connection.overlay.take();',
    to: '                    let _ = &connection.overlay;',
  },
  {
    name: 'filter: an edit that enters is an edit',
    file: ivm('operators/connection'),
    from: '(None, Some(row)) => Some(Change::Add(row.clone().into())),',
    to: '(None, Some(row)) => old.map(|old| Change::Edit { old: old.clone(), new: row.clone() }).or(Some(Change::Add(row.clone().into()))),',
  },
  {
    name: 'filter: an edit that leaves is dropped',
    file: ivm('operators/connection'),
    from: '(Some(row), None) => Some(Change::Remove(row.clone().into())),',
    to: '(Some(row), None) => new.is_none().then(|| Change::Remove(row.clone().into())),',
  },
  {
    name: 'split: an edit of a join column is not split',
    file: ivm('pipeline/push'),
    from: '.all(|(_, connection)| same_in(&connection.split, before, after))',
    to: '.all(|(_, connection)| connection.split.is_empty() || same_in(&[0], before, before))',
  },
  {
    name: 'split: the addition comes before the removal',
    file: ivm('pipeline/push'),
    from: `        if new.is_some() {
            tasks.push(task(None, new));
        }
        if old.is_some() {
            tasks.push(task(old, None));
        }`,
    to: `        if old.is_some() {
            tasks.push(task(old, None));
        }
        if new.is_some() {
            tasks.push(task(None, new));
        }`,
  },
  {
    name: 'split: columns of EXISTS are forgotten',
    file: ivm('pipeline/build'),
    from: 'names.extend(related.correlation.parent_field.clone())',
    to: 'let _ = &names;',
  },
  {
    name: 'split: the partition of a level is forgotten',
    file: ivm('pipeline/build'),
    from: 'split.extend(partition.unwrap_or_default());',
    to: 'let _ = partition;',
  },
  // Skip
  {
    name: 'skip: exclusive is inclusive for changes',
    file: ivm('operators/skip'),
    from: 'Ordering::Equal => !self.exclusive,',
    to: 'Ordering::Equal => true,',
  },
  {
    name: 'skip: exclusive is inclusive for reads',
    file: ivm('operators/skip'),
    from: 'basis: if self.exclusive {',
    to: 'basis: if false {',
  },
  // Take
  {
    name: 'take: one row too many',
    file: ivm('operators/take'),
    from: 'if size < take.limit {',
    to: 'if size <= take.limit {',
  },
  {
    name: 'take: a row at the bound is taken for one behind it',
    file: ivm('operators/take'),
    from: 'if place == Ordering::Greater {\n            return Ok(None);',
    to: 'if place != Ordering::Less {\n            return Ok(None);',
  },
  {
    name: 'take: the new last row is read from the wrong side',
    file: ivm('operators/take'),
    from: '            .near(&bound, Basis::After, true)?\n            .unwrap_or_else(|| row.clone());',
    to: '            .near(&bound, Basis::At, true)?\n            .unwrap_or_else(|| row.clone());',
  },
  {
    name: 'take: nothing follows a row that leaves',
    file: ivm('operators/take'),
    from: '&& let Some(next) = self.near(&bound, Basis::After, false)?',
    to: '&& let Some(next) = None::<Row>',
  },
  {
    name: 'take: the size does not shrink',
    file: ivm('operators/take'),
    from: 'size: size - 1,',
    to: 'size,',
  },
  {
    name: 'take: the bound stays when the last row leaves',
    file: ivm('operators/take'),
    from: `        let bound = if place == Ordering::Equal {
            self.near(&bound, Basis::After, true)?
        } else {`,
    to: `        let bound = if false {
            self.near(&bound, Basis::After, true)?
        } else {`,
  },
  {
    name: 'take: the row that comes in is not announced',
    file: ivm('operators/take'),
    from: 'self.hidden.take().map(|row| Change::Add(row.into()))',
    to: 'self.hidden.take().filter(|_| false).map(|row| Change::Add(row.into()))',
  },
  {
    name: 'take: adds, then removes',
    file: ivm('operators/take'),
    edits: [
      ['*self.take.hidden.borrow_mut() = Some(added);', '*self.take.hidden.borrow_mut() = Some(removed.row);'],
      ['Ok(Some(Change::Remove(removed)))', 'Ok(Some(Change::Add(added.into())))'],
      ['self.hidden.take().map(|row| Change::Add(row.into()))', 'self.hidden.take().map(|row| Change::Remove(row.into()))'],
    ],
  },
  {
    name: 'take: an edit of the last row moves the bound to the row itself',
    file: ivm('operators/take'),
    from: `                    .near(&bound, Basis::At, true)?
                    .unwrap_or_else(|| new.clone());
                keep(last);`,
    to: `                    .near(&bound, Basis::At, true)?
                    .unwrap_or_else(|| new.clone());
                drop(last);
                keep(new.clone());`,
  },
  {
    name: 'take: an edit past the bound is an edit',
    file: ivm('operators/take'),
    from: 'if take.order.compare(&next, &new).is_eq() {',
    to: 'if take.order.compare(&next, &next).is_eq() {',
  },
  {
    name: 'take: an edit into the window is an edit',
    file: ivm('operators/take'),
    from: '(Ordering::Greater, _) => self.replace_bound(new, size, bound),',
    to: '(Ordering::Greater, _) => Ok(Some(Change::Edit { old, new })),',
  },
  {
    name: 'take: partitions share one window',
    file: ivm('operators/take'),
    from: 'self.partition.iter().map(|column| row.get(*column)),',
    to: 'self.partition.iter().take(0).map(|column| row.get(*column)),',
  },
  {
    name: 'take: children of rows behind the bound are passed on',
    file: ivm('operators/take'),
    from: 'return Ok(self.shows(row).then_some(change));',
    to: 'let _ = row;\n            return Ok(Some(change));',
  },
  {
    name: 'take: a hydration in slices begins to count anew',
    file: ivm('operators/take'),
    from: 'let mut kept = self.growing.take().unwrap_or_default();',
    to: 'let mut kept = Kept::default();\n        self.growing.take();',
  },
  // Join
  {
    name: 'join: no change in progress',
    file: ivm('operators/join'),
    from: `        if let Some(at) = unseen {
            self.take_back(&at.change, &mut children);
        }`,
    to: '',
  },
  {
    name: 'join: the change in progress on the wrong side',
    file: ivm('operators/join'),
    from: 'self.parent_order.compare(parent, position).is_gt()',
    to: 'self.parent_order.compare(parent, position).is_lt()',
  },
  {
    name: 'join: the change in progress hidden from its own parent',
    file: ivm('operators/join'),
    from: 'self.parent_order.compare(parent, position).is_gt()',
    to: 'self.parent_order.compare(parent, position).is_ge()',
  },
  {
    name: 'join: a removal in progress is not taken back',
    file: ivm('operators/join'),
    from: 'Change::Remove(node) => (None, Some(node.clone())),',
    to: 'Change::Remove(_) => (None, None),',
  },
  {
    name: 'join: an addition in progress is not taken back',
    file: ivm('operators/join'),
    from: 'Change::Add(node) => (Some(&node.row), None),',
    to: 'Change::Add(_) => (None, None),',
  },
  {
    name: 'join: only the first parents are told',
    file: ivm('operators/join'),
    from: 'if parents.rows.len() == 0 && parents.more {',
    to: 'if false && parents.more {',
  },
  {
    name: 'join: NULL joins NULL',
    file: ivm('operators/join'),
    from: `        if value.is_null() {
            return None;
        }
        match constraint`,
    to: '        match constraint',
  },
  {
    name: 'join: one column of a compound key decides',
    file: ivm('operators/join'),
    from: 'for (from, to) in from.iter().zip(to) {',
    to: 'for (from, to) in from.iter().zip(to).take(1) {',
  },
  // Where
  {
    name: 'exists: the second child makes a row enter',
    file: ivm('operators/condition'),
    from: 'Change::Add(_) => (operator.has_children(reader, &row, 2)?, true),',
    to: 'Change::Add(_) => (operator.has_children(reader, &row, 3)?, true),',
  },
  {
    name: 'exists: a row leaves with its last child but one',
    file: ivm('operators/condition'),
    from: '_ => (true, operator.has_children(reader, &row, 1)?),',
    to: '_ => (true, operator.has_children(reader, &row, 2)?),',
  },
  {
    name: 'exists: a row leaves with the children of now',
    file: ivm('operators/condition'),
    from: 'operator.take_back(&change, &mut children);',
    to: '',
  },
  {
    name: 'where: an edit is not looked at twice',
    file: ivm('operators/condition'),
    from: 'let (was, is) = (is_met(&old)?, is_met(&new)?);',
    to: 'let (was, is) = (is_met(&new)?, is_met(&new)?);',
  },
  {
    name: 'where: a child of a row that is not shown is passed on',
    file: ivm('operators/condition'),
    from: 'return Ok(is_met.then_some(Change::Child { row, join, change }));',
    to: 'return Ok((is_met || true).then_some(Change::Child { row, join, change }));',
  },
  {
    name: 'where: the filter takes one branch of an OR for all',
    file: ivm('pipeline/build'),
    from: `            let conditions: Option<Vec<Condition>> =
                conditions.iter().map(without_subqueries).collect();
            Some(Condition::Or {
                conditions: conditions?,
            })`,
    to: `            let conditions: Vec<Condition> =
                conditions.iter().filter_map(without_subqueries).collect();
            (!conditions.is_empty()).then_some(Condition::Or { conditions })`,
  },
  {
    name: 'where: a row is decided by the answers of the one before it',
    file: ivm('operators/condition'),
    from: 'answers.clear();',
    to: '',
  },
  {
    name: 'where: what was answered is asked again in each slice',
    file: ivm('operators/condition'),
    from: 'answers.push(exists);',
    to: '',
    counted: true,
  },
  {
    name: 'where: a row that is gone on with is not the one that was left',
    file: ivm('operators/condition'),
    from: '*of = Some(row.clone());',
    to: '',
    counted: true,
  },
  // Slices
  {
    name: 'slices: goes on behind the row that was not visited',
    file: ivm('steps'),
    from: 'basis: Basis::At,',
    to: 'basis: Basis::After,',
  },
  // Drive
  {
    name: 'drive: rows that two drivers find come twice',
    file: ivm('operators/drive'),
    from: 'rows.dedup_by(|a, b| self.order.compare(a, b).is_eq());',
    to: '',
  },
  {
    name: 'drive: parents of the child in progress are forgotten',
    file: ivm('operators/drive'),
    from: 'keys.extend(self.child_in_progress().map(|row| key_of(&row)));',
    to: '',
  },
  {
    name: 'drive: a read from a row on begins with the row behind it',
    file: ivm('operators/drive'),
    from: 'std::cmp::Ordering::Equal => start.basis == Basis::After,',
    to: 'std::cmp::Ordering::Equal => true,',
  },
  {
    name: 'drive: backwards is forwards',
    file: ivm('operators/drive'),
    from: 'let row = match reverse {',
    to: 'let row = match reverse && part.is_empty() {',
  },
  {
    name: 'drive: what was found for one parent serves another',
    file: ivm('operators/drive'),
    from: 'found.key == key && self.part',
    to: 'self.part',
  },
  {
    name: 'drive: what was found before a change serves the next one',
    file: ivm('operators/drive'),
    from: 'let Some(found) = kept.as_mut() else { return };',
    to: 'let Some(found) = kept.as_mut().filter(|_| false) else { return };',
  },
  {
    name: 'drive: a row that leaves is still found',
    file: ivm('operators/drive'),
    from: 'rows.remove(at);',
    to: 'let _ = at;',
  },
  {
    name: 'drive: a row that comes is not found',
    file: ivm('operators/drive'),
    from: 'rows.insert(at, row.clone());',
    to: 'let _ = at;',
  },
  {
    name: 'drive: a row that comes to one parent is found for another',
    file: ivm('operators/drive'),
    from: 'is_between && columns.all(',
    to: 'is_between || columns.all(',
  },
  {
    name: 'drive: a row far behind what is kept is put at its end',
    file: ivm('operators/drive'),
    from: 'let is_between = !(at == 0 && is_cut[0] || at == rows.len() && is_cut[1]);',
    to: 'let is_between = true;',
  },
  {
    name: 'drive: behind what is kept there is nothing',
    file: ivm('operators/drive'),
    from: 'is_cut[1] |= last < rows.len();',
    to: '',
  },
  {
    name: 'drive: before what is kept there is nothing',
    file: ivm('operators/drive'),
    from: 'is_cut[0] |= first > 0;',
    to: '',
    counted: true,
  },
  {
    name: 'drive: the row at which a search goes on is left out',
    file: ivm('operators/drive'),
    from: `                    row,
                    basis: Basis::At,
                }),
                None => request.start,`,
    to: `                    row,
                    basis: Basis::After,
                }),
                None => request.start,`,
    counted: true,
  },
  // Walk
  {
    name: 'walk: a row that is gone on with comes again',
    file: ivm('pipeline/walk'),
    from: 'visit(self, branch, row, false)?',
    to: 'visit(self, branch, row, true)?',
  },
  {
    name: 'walk: goes on behind the row that was not visited',
    file: ivm('pipeline/walk'),
    from: '(row, Basis::At)',
    to: '(row, Basis::After)',
  },
  {
    name: 'walk: what follows an open row is left out',
    file: ivm('pipeline/walk'),
    from: 'let begun = stop.as_ref().map_or(0, |stop| stop.branch);',
    to: 'let begun = stop.as_ref().map_or(0, |stop| stop.branch + usize::from(stop.is_open));',
  },
  {
    name: 'walk: rows that an EXISTS needs are counted anew in each slice',
    file: ivm('pipeline/walk'),
    from: 'given = stop.given;',
    to: '',
    counted: true,
  },
  // Junction take
  {
    name: 'junction take: every junction row counts',
    file: ivm('operators/junction_take'),
    edits: [
      ['Some(last) if self.far_order.compare(&last.row, row).is_eq() => {', 'Some(last) if last.through.is_empty() => {'],
      ['match self.find(all, &row) {\n            Ok(at) => {', 'match self.find(all, &row) {\n            Ok(at) if all[at].through.is_empty() => {'],
      ['Err(at) => {\n                let (row, through)', 'Ok(at) | Err(at) => {\n                let (row, through)'],
    ],
  },
  {
    name: 'junction take: what leaves the window stays',
    file: ivm('operators/junction_take'),
    from: 'now.leaves.next()',
    to: 'now.leaves.next().filter(|_| false)',
  },
  {
    name: 'junction take: nothing follows into the window',
    file: ivm('operators/junction_take'),
    from: 'now.min(before)..now.max(before)',
    to: 'now.min(before)..before',
  },
  {
    name: 'junction take: a destination that a second row leads to leaves with the first',
    file: ivm('operators/junction_take'),
    from: `        if through.is_empty() {
            all.remove(at);
        }`,
    to: '        all.remove(at);',
  },
  {
    name: 'junction take: a junction row that still leads to another destination leaves',
    file: ivm('operators/junction_take'),
    from: 'if self.shows_any(links, &junction) {',
    to: 'if links.is_empty() && self.limit == usize::MAX {',
  },
  {
    name: 'junction take: a destination that leaves has the children of now',
    file: ivm('operators/junction_take'),
    from: 'let node = gone.filter(is_gone).cloned();',
    to: 'let node = gone.filter(is_gone).filter(|_| false).cloned();',
  },
  {
    name: 'junction take: an edit of a junction row is kept from those that are hidden',
    file: ivm('operators/junction_take'),
    from: 'for Kept { link, .. } in &mut own {\n',
    to: 'for Kept { link, .. } in own.iter_mut().filter(|kept| kept.is_shown) {\n',
    rare: true,
  },
  {
    name: 'junction take: children of destinations outside the window are passed on',
    file: ivm('operators/junction_take'),
    edits: [
      [
        'return Ok(is_shown.then_some(Change::Child { row, join, change }));',
        'let _ = is_shown;\n                    return Ok(Some(Change::Child { row, join, change }));',
      ],
    ],
  },
  {
    name: 'junction take: one destination too many at first',
    file: ivm('operators/junction_take'),
    from: '*is_shown = all.len() <= self.limit;',
    to: '*is_shown = all.len() <= self.limit + 1;',
  },
  {
    name: 'junction take: a junction row that is gone on with begins anew',
    file: ivm('operators/junction_take'),
    from: 'self.reach(reader, junction, links, far, is_sliced)',
    to: 'self.reach(reader, junction, links, &mut None, is_sliced)',
    counted: true,
  },
  // Reads of the root level within bounds
  {
    name: 'range: the row at the lower bound is left out',
    file: ivm('planner/range'),
    edits: [
      ['None => ValueRef::Null,', 'None => ValueRef::Bool(true),'],
      ['basis: Basis::At,', 'basis: Basis::After,'],
    ],
  },
  {
    name: 'range: a start behind the bound is forgotten',
    file: ivm('planner/range'),
    from: 'order.compare(start.row, begin).is_ge()',
    to: 'order.compare(start.row, begin).is_lt()',
  },
  {
    name: 'range: bounds of a descending order are those of an ascending one',
    file: ivm('planner/range'),
    from: 'Direction::Desc => (greatest, least),',
    to: 'Direction::Desc => (least, greatest),',
  },
  {
    name: 'range: the row at the upper bound ends the read',
    file: ivm('planner/range'),
    from: 'bound.as_ref().is_some_and(|bound| place(bound) == passed)',
    to: 'bound.as_ref().is_some_and(|bound| place(bound) == passed || place(bound).is_eq())',
  },
  // Making of indexes
  {
    name: 'needs: an index is said to be there that is not',
    file: ivm('pipeline/needs'),
    from: 'if progress == Progress::More {',
    to: 'if progress == Progress::More && !reader.steps.are_spent() {',
  },
  {
    name: 'needs: nothing is prepared for relationships',
    file: ivm('pipeline/mod'),
    from: 'if !self.needs[RELATED].are_met()\n',
    to: 'if self.needs[RELATED].are_met()\n',
  },
  {
    name: 'index build: rows that changed after they were read are forgotten',
    file: ivm('source/index_build'),
    from: 'self.late.push(late);',
    to: 'let _ = &late;',
    library: true,
  },
  {
    name: 'index build: rows that change before they are read come twice',
    file: ivm('source/index_build'),
    from: 'self.is_read || last.is_some_and(|last| self.arrival.compare(row, last).is_le())',
    to: 'self.is_read || last.is_none_or(|last| self.arrival.compare(row, last).is_ge())',
    library: true,
  },
  {
    name: 'index build: large bins are always in order',
    file: ivm('source/index_build'),
    edits: [
      [
        'place.digit == 0 && rest.iter().eq(self.arrival.0.iter().filter(is_open))',
        'rest.len() <= 1 || rest.iter().eq(self.arrival.0.iter().filter(is_open))',
      ],
    ],
    library: true,
  },
  {
    name: 'index build: bins in the wrong order',
    file: ivm('source/index_build'),
    from: 'bins.into_iter().enumerate().rev()',
    to: 'bins.into_iter().enumerate()',
    library: true,
  },
  {
    name: 'index build: texts that begin alike are the same',
    file: ivm('source/index_build'),
    edits: [
      [
        'if self.digits(row, place.column).goes_on(place.digit) {',
        'if self.digits(row, place.column).goes_on(place.digit) && place.digit > 99 {',
      ],
    ],
    library: true,
  },
  {
    name: 'index: chunks stay as they came',
    file: ivm('source/chunk'),
    edits: [['            bring_in_order(&mut entries, &order.0[..by]);\n', '            let _ = by;\n']],
    library: true,
  },
  {
    name: 'index: rows that are picked stay as they came',
    file: ivm('source/chunk'),
    from: 'sort_by(&mut rows, |a, b| compare_by(columns, a, b));',
    to: 'let _ = columns;',
    library: true,
  },
  {
    name: 'index: rows are picked from the first chunk only',
    file: ivm('source/index'),
    from: '&self.chunks[smaller.saturating_sub(1)..smaller + same];',
    to: '&self.chunks[smaller.saturating_sub(1)..(smaller + same).min(smaller.max(1))];',
    library: true,
  },
  {
    name: 'index build: bins are found by parts of their digits alone',
    file: ivm('source/index_build'),
    from: 'from + sorted[from..to].partition_point(|other| *other <= number)',
    to: 'from + sorted[from..to].len()',
    library: true,
  },
  {
    name: 'index: a digit with more text behind it tells all',
    file: ivm('source/digits'),
    from: 'last != MORE && last != BEFORE',
    to: 'last != BEFORE',
    library: true,
  },
  {
    name: 'index: texts before the common beginning are behind it',
    file: ivm('source/digits'),
    from: '} else if text < self.beginning {',
    to: '} else if text > self.beginning {',
    library: true,
  },
  {
    name: 'index: a read does not end at another prefix',
    file: ivm('source/memory'),
    from: '!constraint.is_empty() && Some(entry.prefix()) != prefix',
    to: '!is_told && Some(entry.prefix()) != prefix && !constraint.is_empty()',
  },
  {
    name: 'index: prefixes stay when the common beginning changes',
    file: ivm('source/index'),
    from: 'entry.set_prefix(self.prefix(&entry.row));\n            }\n            let least',
    to: '}\n            let least',
    library: true,
  },
  {
    name: 'index build: texts outside the common beginning are dealt out by it',
    file: ivm('source/index_build'),
    from: 'true if *place == FIRST && self.index.is_coarse(from) => None,',
    to: '',
    library: true,
  },
  // View and rows
  {
    name: 'view: a row that is there twice leaves with its first reference',
    file: ivm('view'),
    from: 'if list[at].count > 1 {\n            list[at].count -= 1;',
    to: 'if list[at].count > 99 {\n            list[at].count -= 1;',
  },
  {
    name: 'view: children of a second reference are not counted',
    file: ivm('view'),
    from: 'self.children(shape, list, at, &node, Change::Add)?;',
    to: '',
  },
  {
    name: 'view: a moved row is announced at its old place',
    file: ivm('view'),
    from: 'to: position(to),\n                    old: old.clone(),',
    to: 'to: position(from),\n                    old: old.clone(),',
  },
  {
    name: 'rows: the rows below a row that enters are not counted',
    file: ivm('pipeline/rows'),
    from: 'self.subtree(table, below, &child, enters, sink)?;',
    to: 'self.subtree(table, &[], &child, enters, sink)?;\n                let _ = below;',
  },
  {
    name: 'rows: rows that decide a permission are counted',
    file: ivm('pipeline/rows'),
    from: 'Role::Permission => Ok(Vec::new()),',
    to: 'Role::Permission => self.children(relationship.join, node),',
  },
  {
    name: 'rows: a witness too many',
    file: ivm('pipeline/rows'),
    from: 'Role::Exists => self.first_children(relationship.join, node, WITNESSES),',
    to: 'Role::Exists => self.first_children(relationship.join, node, WITNESSES + 1),',
  },
  {
    name: 'rows: the witness that a new one displaces stays',
    file: ivm('pipeline/rows'),
    from: 'join.take_back(change, &mut before);\n        now.truncate(WITNESSES);\n        before.truncate(WITNESSES);',
    to: 'join.take_back(change, &mut before);\n        before.truncate(WITNESSES);',
  },
  {
    name: 'rows: no witness follows one that leaves',
    file: ivm('pipeline/rows'),
    from: 'for node in now.iter().filter(|node| !is_in(&before, &node.row)) {',
    to: 'for node in now.iter().filter(|node| now.len() > before.len() && !is_in(&before, &node.row)) {',
  },
  {
    name: 'rows: an edit that moves a row out of the witnesses is an edit',
    file: ivm('pipeline/rows'),
    from: 'is_in(&before, old) && is_in(&now, new),',
    to: 'is_in(&before, old) && (is_in(&now, new) || true),',
  },
  {
    name: 'rows: what changes below a row that is no witness counts',
    file: ivm('pipeline/rows'),
    from: 'Change::Child { row, .. } => is_in(&now, row),',
    to: 'Change::Child { row, .. } => is_in(&now, row) || true,',
  },
  // Sources
  {
    name: 'memory: a start is always inclusive',
    file: ivm('source/memory'),
    from: '(start.basis == Basis::After) != request.reverse,',
    to: '(start.basis == Basis::After && false) != request.reverse,',
  },
  {
    name: 'branch: a deleted row of the base is shown',
    file: ivm('source/branch'),
    from: `                return ControlFlow::Continue(());
            }
            while flow.is_continue()`,
    to: `            }
            while flow.is_continue()`,
  },
  {
    name: 'replica: nothing follows a start at NULL',
    file: 'crates/server/src/replica/source.rs',
    from: '(false, true) => &[Last::NotNull],',
    to: '(false, true) => &[],',
    database: true,
  },
  {
    name: 'replica: NULLs are not behind a descending start',
    file: 'crates/server/src/replica/source.rs',
    from: '(true, false) if nullable => &[Last::Less, Last::Null],',
    to: '(true, false) if nullable => &[Last::Less],',
    database: true,
  },
  {
    name: 'replica: an older state shows what was added since',
    file: 'crates/server/src/queries/rewound.rs',
    from: 'if taken_back.images.contains_key(&table.key_of(row)) {',
    to: 'if taken_back.images.is_empty() {',
    database: true,
  },
  {
    name: 'replica: a change that was pushed is not revealed',
    file: 'crates/server/src/queries/rewound.rs',
    from: 'let shown = images.get_mut().pop_front().flatten();',
    to: 'let shown = images.get().front().cloned().flatten();',
    database: true,
  },
];
