//! Folders of manifests: read, applied, watched.
//!
//! A [`Folder`] keeps a cluster as its files say: what is saved is applied by server-side apply within moments, and
//! every document has a [`DocumentStatus`]; [`apply`] does it once. [`documents::read`] turns files into documents, [`applier`]
//! sends them, `keeper` goes over all of them round by round, and `folder` listens to the disk. This room knows a cluster only through its client.
//!
//! Invariants: a file that cannot be read or parsed changes nothing in the cluster; a document that did not change since
//! it was applied is not sent again; a file that is saved wins over what the same person did in the terminal UI, and over
//! nobody else; order is namespaces, then custom resource definitions, then the rest; what no document names any more is
//! deleted, if every file could be read and every document was taken, and because the folder is empty or gone only when somebody
//! has confirmed that this is meant.

mod applier;
mod applyset;
pub mod documents;
mod folder;
mod keeper;
mod once;
mod status;

pub use applier::HAND;
pub use folder::{Control, Folder, FolderError};
pub use once::{ApplyOptions, Compared, apply, compare, left_over};
pub use status::{DocumentState, DocumentStatus, FileStatus, FolderStatus};
