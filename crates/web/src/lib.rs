//! The Landfall client in a browser
