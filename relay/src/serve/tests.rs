//! The relay in this process, on a free port and a temporary folder, seen through its sockets.

mod access;
mod ending;
mod frames;
mod http;
mod limits;
mod live;
mod permissions;
mod support;
mod sync;
