import { useVirtualizer } from '@tanstack/react-virtual';
import { useQuery } from 'landfall/react';
import { type KeyboardEvent, useDeferredValue, useEffect, useRef, useState } from 'react';
import { type IssueFilter, type Priority, queries, type Sort } from '../shared/queries.ts';
import { goTo, issuePath } from './route.ts';
import { useEmptyText } from './useEmptyText.ts';
import { PRIORITIES, SORTS, when } from './words.ts';

/** Rows that are asked for at first, and the step in which more are. */
export const PAGE = 200;
const ROW_HEIGHT = 56;

/** What the list shows at first. */
export const START: IssueFilter = { status: 'open', sort: 'modified', search: '' };

export function IssueList({ hidden, onNew }: { hidden: boolean; onNew: () => void }) {
  const [filter, setFilter] = useState(START);
  const [limit, setLimit] = useState(PAGE);
  const asked = useDeferredValue(filter);
  const [found, details] = useQuery(queries.issues.list({ ...asked, limit }));
  // While a new filter or page is on its way the rows of the last answer stay.
  const last = useRef(found);
  if (found.length > 0 || details.type !== 'unknown') last.current = found;
  const issues = last.current;

  const emptyText = useEmptyText(details, 'No issue matches.');
  const [users] = useQuery(queries.users());
  const [labels] = useQuery(queries.labels());
  const [selected, setSelected] = useState(0);
  const scroller = useRef<HTMLDivElement>(null);
  const search = useRef<HTMLInputElement>(null);
  const virtual = useVirtualizer({
    count: issues.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    getItemKey: index => issues[index]!.id,
    overscan: 12,
  });
  const rows = virtual.getVirtualItems();

  const bottom = rows.at(-1)?.index ?? 0;
  useEffect(() => {
    if (bottom > limit - PAGE / 2 && found.length === limit) setLimit(limit * 2);
  }, [bottom, limit, found.length]);

  const set = (change: Partial<IssueFilter>) => {
    setFilter({ ...filter, ...change });
    setLimit(PAGE);
    setSelected(0);
    scroller.current?.scrollTo({ top: 0 });
  };
  const select = (index: number) => {
    const next = Math.max(0, Math.min(issues.length - 1, index));
    setSelected(next);
    virtual.scrollToIndex(next);
  };

  useEffect(() => {
    if (hidden) return;
    scroller.current?.focus();
    const shortcut = (event: globalThis.KeyboardEvent) => {
      const typing = event.target instanceof HTMLElement && event.target.closest('input, textarea, select, dialog');
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === '/') {
        event.preventDefault();
        search.current?.focus();
      } else if (event.key === 'n') {
        event.preventDefault();
        onNew();
      }
    };
    addEventListener('keydown', shortcut);
    return () => removeEventListener('keydown', shortcut);
  }, [hidden, onNew]);

  const keys = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10 };
    const step = steps[event.key];
    if (step !== undefined) select(selected + step);
    else if (event.key === 'Home') select(0);
    else if (event.key === 'End') select(issues.length - 1);
    else if (event.key === 'Enter' && issues[selected]) goTo(issuePath(issues[selected].id));
    else return;
    event.preventDefault();
  };

  const isCounted = found.length > 0 || details.type === 'complete';
  const count = isCounted ? `${found.length}${found.length === limit ? '+' : ''} ${found.length === 1 ? 'issue' : 'issues'}` : '';

  return (
    <main hidden={hidden} style={hidden ? undefined : { display: 'contents' }}>
      <div className="filters" role="search">
        <input ref={search} type="search" placeholder="Search titles and descriptions  ( / )" aria-label="Search"
          value={filter.search} onChange={event => set({ search: event.target.value })} />
        <select aria-label="Status" value={filter.status} onChange={event => set({ status: event.target.value as IssueFilter['status'] })}>
          <option value="open">Open</option><option value="closed">Closed</option><option value="all">Open and closed</option>
        </select>
        <select aria-label="Priority" value={filter.priority ?? ''} onChange={event => set({ priority: (event.target.value || undefined) as Priority | undefined })}>
          <option value="">Any priority</option>
          {PRIORITIES.map(({ value, word }) => <option key={value} value={value}>{word}</option>)}
        </select>
        <select aria-label="Assignee" value={filter.assigneeID ?? ''} onChange={event => set({ assigneeID: event.target.value || undefined })}>
          <option value="">Anybody</option>
          {users.map(user => <option key={user.id} value={user.id}>{user.name}</option>)}
        </select>
        <select aria-label="Label" value={filter.labelID ?? ''} onChange={event => set({ labelID: event.target.value || undefined })}>
          <option value="">Any label</option>
          {labels.map(label => <option key={label.id} value={label.id}>{label.name}</option>)}
        </select>
        <select aria-label="Sort" value={filter.sort} onChange={event => set({ sort: event.target.value as Sort })}>
          {SORTS.map(({ value, word }) => <option key={value} value={value}>{word}</option>)}
        </select>
        <span className="count" role="status">{count}</span>
      </div>
      <div ref={scroller} className="list" role="listbox" tabIndex={0} aria-label="Issues"
        aria-activedescendant={issues[selected] ? `issue-${issues[selected].id}` : undefined} onKeyDown={keys}>
        {issues.length === 0 && <p className="empty">{emptyText}</p>}
        <div className="rows" style={{ height: virtual.getTotalSize() }}>
          {rows.map(({ key, index, start }) => {
            const issue = issues[index]!;
            const priority = PRIORITIES.find(({ value }) => value === issue.priority);
            return (
              <div key={key} id={`issue-${issue.id}`} className="row" role="option" data-open={issue.open}
                aria-selected={index === selected} style={{ transform: `translateY(${start}px)` }}
                onClick={() => { setSelected(index); goTo(issuePath(issue.id)); }}>
                <span className="priority" role="img" aria-label={`${priority?.word} priority`} title={priority?.word}>{priority?.sign}</span>
                <span className="title">{issue.title}</span>
                <span className="labels">
                  {issue.labels.map(label => (
                    <span key={label.id} className="label"><span className="swatch" style={{ background: label.color }} />{label.name}</span>
                  ))}
                </span>
                <span className="who">{issue.assignee?.name}</span>
                <span className="when">{when(issue.modified)}</span>
              </div>
            );
          })}
        </div>
      </div>
    </main>
  );
}
