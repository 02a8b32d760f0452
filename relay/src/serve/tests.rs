//! The relay in this process, on a free port and a temporary folder, seen through its sockets.

mod admin;
mod ending;
mod frames;
mod http;
mod live;
mod support;
mod sync;
