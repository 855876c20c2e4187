// The platform. Examples in the documentation include this file, so it has no attributes of its own.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use vmspace::format::{Format, Geometry};
use vmspace::{
    Backend, Batch, CpuSet, Frame, MaySleep, Native, Page, Pager, PagerError, Platform, SpaceId,
    SwapDevices, Vm,
};

thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Makes the running thread that CPU.
pub fn be_cpu(cpu: usize) {
    CPU.with(|c| c.set(cpu));
}

/// A shootdown that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub cpus: Vec<usize>,
    pub pages: Option<Vec<u64>>,
    pub tables: bool,
}

/// Host memory as frames from 0 on.
pub struct Host<F, B = Native> {
    /// What was allocated: a page more than the frames take.
    block: *mut u8,
    layout: Layout,
    memory: *mut u8,
    cpus: usize,
    backend: B,
    pub sent: Mutex<Vec<Sent>>,
    pub shootdowns: AtomicU64,
    /// Whether frames are zeroed at all (measurements leave it out).
    pub zeroing: bool,
    /// Called when a frame is zeroed.
    pub on_zero: Option<Box<dyn Fn() + Sync + Send>>,
    /// Called in every turn of a busy wait.
    pub on_relax: Option<Box<dyn Fn() + Sync + Send>>,
    pub files: Files,
    pub kept: Kept,
    format: PhantomData<F>,
}

type PageIn = Box<dyn Fn(&mut MaySleep, u64, u64) -> Result<u8, PagerError> + Sync + Send>;

type OnStore = Box<dyn Fn(u64) -> Result<(), PagerError> + Sync + Send>;

/// A pager whose files are bytes of this process. Each file exists; it is empty at first.
#[derive(Default)]
pub struct Files {
    /// By the pager's number.
    pub bytes: Mutex<HashMap<u64, Vec<u8>>>,
    /// What fills a page instead: the byte that it is to be full of.
    pub on_page_in: Option<PageIn>,
    /// Asked before anything is stored: by page_out with the index, by write with the offset.
    pub on_store: Option<OnStore>,
    /// The pages that were handed over, in order.
    pub stored: Mutex<Vec<u64>>,
    /// The files whose objects have ended.
    pub ended: Mutex<Vec<u64>>,
}

impl Files {
    /// File `pager`'s bytes.
    pub fn of(&self, pager: u64) -> Vec<u8> {
        self.bytes.lock().unwrap().entry(pager).or_default().clone()
    }

    fn store(&self, pager: u64, at: usize, from: &[u8]) {
        let mut files = self.bytes.lock().unwrap();
        let file = files.entry(pager).or_default();
        file.resize(file.len().max(at + from.len()), 0);
        file[at..at + from.len()].copy_from_slice(from);
    }
}

impl Pager for Files {
    fn page_in(
        &self,
        ms: &mut MaySleep,
        pager: u64,
        index: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        if let Some(page_in) = &self.on_page_in {
            let byte = page_in(ms, pager, index)?;
            page.write(0, &vec![byte; page.len()]);
            return Ok(());
        }
        let files = self.bytes.lock().unwrap();
        let file = files.get(&pager).map_or(&[][..], Vec::as_slice);
        let done = page.write(0, file.get(index as usize * page.len()..).unwrap_or(&[]));
        page.zero_from(done);
        Ok(())
    }

    fn page_out(
        &self,
        _: &mut MaySleep,
        pager: u64,
        index: u64,
        page: Page<'_>,
        bytes: usize,
    ) -> Result<(), PagerError> {
        if let Some(hook) = &self.on_store {
            hook(index)?;
        }
        let mut copy = vec![0; bytes];
        page.read(0, &mut copy);
        self.store(pager, index as usize * page.len(), &copy);
        self.stored.lock().unwrap().push(index);
        Ok(())
    }

    fn write(
        &self,
        _: &mut MaySleep,
        pager: u64,
        offset: u64,
        from: &[u8],
    ) -> Result<usize, PagerError> {
        if let Some(hook) = &self.on_store {
            hook(offset)?;
        }
        self.store(pager, offset as usize, from);
        Ok(from.len())
    }

    fn resize(&self, _: &mut MaySleep, pager: u64, bytes: u64) -> Result<(), PagerError> {
        self.bytes.lock().unwrap().entry(pager).or_default().resize(bytes as usize, 0);
        Ok(())
    }

    fn end(&self, _: &mut MaySleep, pager: u64) {
        self.ended.lock().unwrap().push(pager);
    }
}

type OnSwap = Box<dyn Fn(&mut MaySleep, u64, u64) -> Result<(), PagerError> + Sync + Send>;

/// Swap devices that are memory of this process.
#[derive(Default)]
pub struct Kept {
    /// By device and slot.
    pub pages: Mutex<HashMap<(u64, u64), Vec<u8>>>,
    /// Asked before a page is read, with device and slot.
    pub on_read: Option<OnSwap>,
    /// Asked before a page is written.
    pub on_write: Option<OnSwap>,
}

impl SwapDevices for Kept {
    fn read(
        &self,
        ms: &mut MaySleep,
        device: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        if let Some(hook) = &self.on_read {
            hook(ms, device, slot)?;
        }
        let pages = self.pages.lock().unwrap();
        page.write(0, pages.get(&(device, slot)).ok_or(PagerError::Failed)?);
        Ok(())
    }

    fn write(
        &self,
        ms: &mut MaySleep,
        device: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        if let Some(hook) = &self.on_write {
            hook(ms, device, slot)?;
        }
        let mut bytes = vec![0; page.len()];
        page.read(0, &mut bytes);
        self.pages.lock().unwrap().insert((device, slot), bytes);
        Ok(())
    }

    fn discard(&self, device: u64, slot: u64) {
        self.pages.lock().unwrap().remove(&(device, slot));
    }
}

// SAFETY: the memory is owned, and reached as the library promises: by atomics where shared.
unsafe impl<F, B: Sync> Sync for Host<F, B> {}
// SAFETY: as above.
unsafe impl<F, B: Send> Send for Host<F, B> {}

impl<F: Format> Host<F> {
    pub fn new(frames: u64, cpus: usize) -> Host<F> {
        Host::with_backend(frames, cpus, Native)
    }
}

impl<F: Format, B: Backend> Host<F, B> {
    pub fn with_backend(frames: u64, cpus: usize, backend: B) -> Host<F, B> {
        let page = F::PAGE_SIZE as usize;
        // Aligned by hand: zeroed memory of a larger alignment than usual is written to at once.
        let layout = Layout::from_size_align((frames as usize + 1) * page, 16).unwrap();
        // SAFETY: the size is not zero in any test.
        let block = unsafe { alloc_zeroed(layout) };
        assert!(!block.is_null());
        let memory = block.wrapping_add(block.align_offset(page));
        Host {
            block,
            layout,
            memory,
            cpus,
            backend,
            sent: Mutex::new(Vec::new()),
            shootdowns: AtomicU64::new(0),
            zeroing: true,
            on_zero: None,
            on_relax: None,
            files: Files::default(),
            kept: Kept::default(),
            format: PhantomData,
        }
    }

    pub fn frames(&self) -> u64 {
        (self.layout.size() as u64 >> F::PAGE_SHIFT) - 1
    }

    pub fn manager(self) -> Vm<Host<F, B>> {
        let frames = self.frames();
        Vm::new(self, 0..frames).unwrap()
    }

    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }
}

impl<F, B> Drop for Host<F, B> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `with_backend`.
        unsafe { dealloc(self.block, self.layout) }
    }
}

// SAFETY: the memory is one block of whole pages, aligned, zeroed, owned until the drop; there are
// no translations to drop but for those that tests model themselves.
unsafe impl<F: Format, B: Backend> Platform for Host<F, B> {
    type Format = F;
    type Backend = B;
    type Pager = Files;
    type Swap = Kept;

    fn backend(&self) -> &B {
        &self.backend
    }

    fn pager(&self) -> &Files {
        &self.files
    }

    fn swap(&self) -> &Kept {
        &self.kept
    }

    fn cpus(&self) -> usize {
        self.cpus
    }

    fn cpu(&self) -> usize {
        CPU.with(Cell::get)
    }

    #[inline(always)]
    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        // SAFETY: the library asks for frames of the range given to it.
        unsafe { self.memory.add((frame.0 as usize) << F::PAGE_SHIFT) }
    }

    fn zero(&self, frame: Frame) {
        if let Some(hook) = &self.on_zero {
            hook();
        }
        if !self.zeroing {
            return;
        }
        // SAFETY: nobody else can reach the frame.
        unsafe { self.frame_ptr(frame).write_bytes(0, F::PAGE_SIZE as usize) }
    }

    fn shootdown(&self, cpus: &CpuSet, _: SpaceId, batch: &Batch<'_>) {
        self.shootdowns.fetch_add(1, Ordering::Relaxed);
        if cfg!(vmspace_count_lines) || !self.zeroing {
            return;
        }
        self.sent.lock().unwrap().push(Sent {
            cpus: cpus.iter().collect(),
            pages: batch.pages.map(|pages| pages.iter().map(|shot| shot.page).collect()),
            tables: batch.tables,
        });
    }

    fn flush_local(&self, _: SpaceId, _: u64) {}

    fn park(&self, _: &vmspace::sync::AtomicU32, _: u32) {
        std::thread::yield_now();
    }

    fn unpark_all(&self, _: &vmspace::sync::AtomicU32) {}

    fn relax(&self) {
        if let Some(hook) = &self.on_relax {
            hook();
        }
        std::thread::yield_now();
    }

    fn memory_low(&self) {}
}
