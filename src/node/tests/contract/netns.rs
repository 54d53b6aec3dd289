//! A network namespace with its loopback up, held by a thread.

use std::path::PathBuf;
use std::sync::mpsc;

use nix::sched::{CloneFlags, unshare};

type Work = Box<dyn FnOnce() + Send>;

pub struct Netns {
    pub path: PathBuf,
    work: mpsc::Sender<Work>,
}

impl Netns {
    pub fn new() -> Self {
        let (ready, made) = mpsc::channel();
        let (work, todo) = mpsc::channel::<Work>();
        std::thread::spawn(move || {
            let path = PathBuf::from(format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid()));
            if nix::unistd::geteuid().is_root() {
                unshare(CloneFlags::CLONE_NEWNET).unwrap();
                loopback_up();
            }
            ready.send(path).unwrap();
            todo.into_iter().for_each(|work| work());
        });
        Self { path: made.recv().unwrap(), work }
    }

    /// Runs something inside.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        self.work.send(Box::new(move || done.send(work()).unwrap())).unwrap();
        result.recv().unwrap()
    }
}

fn loopback_up() {
    // Plain ioctls on a socket of our own.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        assert_eq!(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request), 0);
        libc::close(socket);
    }
}
