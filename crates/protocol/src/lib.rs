//! Landfall's wire protocol: messages, cookies, errors
