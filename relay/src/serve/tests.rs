//! The relay in this process, on a free port and a temporary folder, seen through its sockets.

mod access;
mod admin;
mod blobs;
mod budget;
mod doors;
mod ending;
mod frames;
mod http;
mod limits;
mod live;
mod notes;
mod operations;
mod permissions;
mod support;
mod sync;
mod unread;
mod views;
