import { useZero } from 'landfall/react';
import { useState, useSyncExternalStore } from 'react';
import { useNotice } from './write.ts';

/** Writes that the server has not confirmed yet, and those that it refused, with its reason. */
export function PendingWrites() {
  const zero = useZero();
  const mutations = useSyncExternalStore(zero.pending.subscribe, () => zero.pending.current);
  const notice = useNotice();
  const [open, setOpen] = useState(false);
  const failed = mutations.filter(({ state }) => state !== 'pending').length;
  const waiting = mutations.length - failed;
  return (
    <div className="pending">
      {mutations.length > 0 && (
        <button type="button" aria-expanded={open} data-failed={failed > 0} onClick={() => setOpen(!open)}>
          {waiting > 0 && `${waiting} to send`}{waiting > 0 && failed > 0 && ' · '}{failed > 0 && `${failed} refused`}
        </button>
      )}
      {open && mutations.length > 0 && (
        <ul aria-label="Writes that are not confirmed">
          {mutations.map(mutation => (
            <li key={`${mutation.clientID}/${mutation.id}`}>
              <span className="what">{mutation.name}</span>
              {mutation.state === 'pending'
                ? <span>waiting</span>
                : (
                  <>
                    <span className="why">{mutation.reason ?? 'it is not known whether this arrived'}</span>
                    <button type="button" className="plain" onClick={() => zero.pending.clear(mutation)}>Dismiss</button>
                  </>
                )}
            </li>
          ))}
        </ul>
      )}
      {notice && <div className="notice" role="alert"><p>{notice}</p></div>}
    </div>
  );
}
