//! Giving up root's rights, so that nothing started afterwards can get them back.
//!
//! The calls change the calling *thread*; this program has one. Order matters: what a step needs, an earlier one must
//! not have given up.

use rustix::{
    io::{Errno, Result},
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// Becomes `id`, user and group, with no other group, in all three of its user ids: none is left to go back to.
pub fn become_user(id: u32) -> Result<()> {
    empty_bounding_set();
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)
}

/// Leaves no capability, and no way to one: a set-user-id program run from here on gains nothing either.
pub fn drop_capabilities() -> Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)
}

/// What `exec` could give again. Needs SETPCAP, which Docker grants and some do not; without it the set stays, and
/// `no_new_privs` keeps it from being of use.
fn empty_bounding_set() {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // EINVAL: the kernel knows no more of them.
            Err(Errno::INVAL | Errno::PERM) => return,
            Err(error) => {
                eprintln!("reflow-entrypoint: capability {bit} stays in the bounding set: {error}");
            }
        }
    }
}
