//! Where there are no files there is no spool: nothing can make one.

use std::io;
use std::path::Path;

use uuid::Uuid;

use super::super::batch::{Body, Outgoing};

#[derive(Debug)]
pub(crate) enum Spool {}

impl Spool {
    pub(crate) fn open(_path: &Path, _max_bytes: u64) -> io::Result<(Self, Vec<Outgoing>)> {
        Err(io::Error::other("there are no files here"))
    }

    pub(crate) fn append(&mut self, _outgoing: &Outgoing) -> io::Result<bool> {
        match *self {}
    }

    pub(crate) fn read(&mut self, _outgoing: &Outgoing) -> io::Result<Body> {
        match *self {}
    }

    pub(crate) fn settle(&mut self, _id: Uuid) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn damaged_events(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn bytes(&self) -> u64 {
        match *self {}
    }
}
