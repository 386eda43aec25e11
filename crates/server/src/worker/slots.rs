//! The connections of a worker.

use crate::connection::{ConnectionHandle, DirectWrite};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use warren_hub::SubscriberId;

/// The connections of a worker, at the index of their subscriber in the hub.
#[derive(Debug, Default)]
pub struct ConnectionSlots(RefCell<Vec<Option<ConnectionSlot>>>);

/// One connection.
#[derive(Debug)]
struct ConnectionSlot {
    subscriber: SubscriberId,
    handle: Rc<ConnectionHandle>,
    /// The connection itself, if it can be written to without its task.
    writer: Option<Weak<dyn DirectWrite>>,
}

impl ConnectionSlots {
    pub fn insert(&self, subscriber: SubscriberId, handle: Rc<ConnectionHandle>) {
        let (mut slots, index) = (self.0.borrow_mut(), subscriber.index());
        if slots.len() <= index {
            slots.resize_with(index + 1, || None);
        }
        slots[index] = Some(ConnectionSlot { subscriber, handle, writer: None });
    }

    pub fn remove(&self, subscriber: SubscriberId) {
        if let Some(slot) = self.0.borrow_mut().get_mut(subscriber.index()) {
            *slot = None;
        }
    }

    /// Enables direct writes to a connection.
    pub fn set_writer(&self, subscriber: SubscriberId, writer: Weak<dyn DirectWrite>) {
        if let Some(Some(slot)) = self.0.borrow_mut().get_mut(subscriber.index()) {
            slot.writer = Some(writer);
        }
    }

    /// The connection of a subscriber, if it can be written to without its task.
    pub fn writer(&self, subscriber: SubscriberId) -> Option<Rc<dyn DirectWrite>> {
        self.0.borrow().get(subscriber.index())?.as_ref()?.writer.as_ref()?.upgrade()
    }

    /// Calls `visit` with each connection. It must open and close none.
    pub fn for_each(&self, mut visit: impl FnMut(SubscriberId, &Rc<ConnectionHandle>)) {
        for slot in self.0.borrow().iter().flatten() {
            visit(slot.subscriber, &slot.handle);
        }
    }
}
