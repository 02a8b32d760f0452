//! The relay in this process, on a free port and a temporary folder, seen through its sockets.

mod blobs;
mod ending;
mod frames;
mod http;
mod live;
mod notes;
mod operations;
mod support;
mod sync;
mod views;
