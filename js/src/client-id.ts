/** Names a page among those of its group. */
export type ClientID = string;

/** Names the pages that share one store. */
export type ClientGroupID = string;
