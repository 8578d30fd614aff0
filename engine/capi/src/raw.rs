//! The only place where pointers of C are followed.
//!
//! Decides: NULL and sizes. Given: pointers and lengths as C gives them. Refuses: to keep any of them behind the end of a function.
//!
//! JUSTIFICATION: a C interface is made of pointers; this file is where they become slices and values, so that the rest of the package has none.

use crate::types::{ErrorCode, TR_ERR_ARGUMENT, TR_ERR_NULL};
use core::mem::size_of;

/// Bytes that may be read. An empty slice needs no pointer.
///
/// # Safety
/// `data` must be valid for reads of `len` bytes for as long as the slice is used.
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> Result<&'a [u8], ErrorCode> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(TR_ERR_NULL);
    }
    if len > isize::MAX as usize {
        return Err(TR_ERR_ARGUMENT);
    }
    // SAFETY: not null, not longer than an allocation can be; the caller vouches for the rest.
    Ok(unsafe { core::slice::from_raw_parts(data, len) })
}

/// Values that may be changed. An empty slice needs no pointer.
///
/// # Safety
/// `data` must be valid for reads and writes of `len` values, and nobody else may use them meanwhile.
pub(crate) unsafe fn many<'a, T>(data: *mut T, len: usize) -> Result<&'a mut [T], ErrorCode> {
    if len == 0 {
        return Ok(&mut []);
    }
    if data.is_null() || !data.is_aligned() {
        return Err(TR_ERR_NULL);
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(TR_ERR_ARGUMENT);
    }
    // SAFETY: not null, aligned, not longer than an allocation can be; the caller vouches for the rest.
    Ok(unsafe { core::slice::from_raw_parts_mut(data, len) })
}

/// Writes a result.
///
/// # Safety
/// `out` must be null or valid for a write.
pub(crate) unsafe fn put<T>(out: *mut T, value: T) -> Result<(), ErrorCode> {
    if out.is_null() || !out.is_aligned() {
        return Err(TR_ERR_NULL);
    }
    // SAFETY: not null and aligned; the caller vouches for the rest.
    unsafe { out.write(value) };
    Ok(())
}

/// A struct whose first member says how much of it the caller has.
///
/// # Safety
/// Implemented only for `repr(C)` structs of plain numbers and pointers whose first member is a `u32` with their size, and of which all bytes zero are a value.
pub(crate) unsafe trait Sized32: Copy {}

/// Reads the caller's part of a struct; what it does not have is zero.
///
/// # Safety
/// `from` must be null or valid for reads of as many bytes as its first member says.
pub(crate) unsafe fn read_sized<T: Sized32>(from: *const T) -> Result<T, ErrorCode> {
    if from.is_null() || !from.is_aligned() {
        return Err(TR_ERR_NULL);
    }
    // SAFETY: every such struct begins with a u32; the caller vouches for the pointer.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    if size < size_of::<u32>() {
        return Err(TR_ERR_ARGUMENT);
    }
    // SAFETY: all bytes zero are a value of T, as its trait says.
    let mut value: T = unsafe { core::mem::zeroed() };
    let have = size.min(size_of::<T>());
    // SAFETY: `have` bytes are readable as the caller vouches, and writable because T is at least as long.
    unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), have) };
    Ok(value)
}

/// Writes as much of a struct as the caller has room for, and leaves its `size` as it is.
///
/// # Safety
/// `to` must be null or valid for reads and writes of as many bytes as its first member says.
pub(crate) unsafe fn write_sized<T: Sized32>(to: *mut T, value: T) -> Result<(), ErrorCode> {
    if to.is_null() || !to.is_aligned() {
        return Err(TR_ERR_NULL);
    }
    // SAFETY: every such struct begins with a u32; the caller vouches for the pointer.
    let size = unsafe { to.cast::<u32>().read() };
    let have = (size as usize).min(size_of::<T>());
    if have < size_of::<u32>() {
        return Err(TR_ERR_ARGUMENT);
    }
    // SAFETY: `have` bytes are writable as the caller vouches; the four of `size` are passed over on both sides.
    unsafe {
        let skip = size_of::<u32>();
        core::ptr::copy_nonoverlapping((&raw const value).cast::<u8>().add(skip), to.cast::<u8>().add(skip), have - skip);
    }
    Ok(())
}
