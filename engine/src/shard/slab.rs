//! Slots for calls, with generations: a key of an ended call never finds its successor.

/// Generations have 30 bits, so that a key and a socket's number fit into one epoll token.
pub(crate) const GENERATION_MASK: u32 = (1 << 30) - 1;

/// Names a slot and the call that lived in it when the key was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Key {
    /// Slot.
    pub(crate) index: u32,
    /// Which tenant of the slot.
    pub(crate) generation: u32,
}

/// A bounded slab.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Room for `capacity` tenants, allocated now.
    pub(crate) fn new(capacity: usize) -> Self {
        let slots = (0..capacity).map(|_| (0, None)).collect();
        Self { slots, free: (0..capacity as u32).rev().collect() }
    }

    /// Moves a tenant in; gives it back when the house is full.
    pub(crate) fn insert(&mut self, tenant: T) -> Result<Key, T> {
        let Some(index) = self.free.pop() else { return Err(tenant) };
        let (generation, slot) = &mut self.slots[index as usize];
        debug_assert!(slot.is_none(), "a free slot is empty");
        *slot = Some(tenant);
        Ok(Key { index, generation: *generation })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let (generation, slot) = self.slots.get(key.index as usize)?;
        if *generation == key.generation { slot.as_ref() } else { None }
    }

    /// Where a slot lies and its size in bytes, taken or not.
    pub(crate) fn place(&self, index: u32) -> (*const u8, usize) {
        self.slots.get(index as usize).map_or((core::ptr::null(), 0), |slot| (core::ptr::from_ref(slot).cast(), size_of_val(slot)))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, slot) = self.slots.get_mut(key.index as usize)?;
        if *generation == key.generation { slot.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, slot) = self.slots.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let tenant = slot.take()?;
        *generation = generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(key.index);
        Some(tenant)
    }

    /// The keys of all tenants.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let taken = self.slots.iter().enumerate().filter(|(_, (_, slot))| slot.is_some());
        taken.map(|(index, (generation, _))| Key { index: index as u32, generation: *generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nobody() {
        let mut slab = Slab::new(1);
        let first = slab.insert("a").expect("room");
        assert_eq!(slab.insert("b"), Err("b"));
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("c").expect("room");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "c"));
        assert_eq!(slab.keys(), [second]);
    }
}
