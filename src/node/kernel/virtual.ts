/** A Linux kernel's own view of memory, on x86-64: virtual addresses through its page tables. */
import { PR } from '../../base/types.ts'
import { doubleHi, doubleLo, hi32, lo32, toDouble } from '../../base/u64.ts'
import { type PtSpace, ptSpace } from '../../format/pt/format.ts'
import { WALK_OK, Walker } from '../../format/pt/walker.ts'
import { x86Scheme } from '../../format/pt/x86.ts'
import type { PhysicalMemory } from '../../memory/physical.ts'
import type { VmcoreInfo } from '../dump/vmcoreinfo.ts'

/** Where the kernel's text and data are mapped (Linux, Documentation/arch/x86/x86_64/mm.rst), before phys_base is added. */
const KERNEL_MAP = 0xffff_ffff_8000_0000n
const PAGE = 4096n

export class KernelMemory {
  readonly #memory: PhysicalMemory
  readonly #space: PtSpace
  readonly #walker: Walker

  constructor(memory: PhysicalMemory, root: number, levels: 4 | 5) {
    this.#memory = memory
    this.#space = ptSpace({ ...x86Scheme(levels), root })
    this.#walker = new Walker(memory)
  }

  /** Physical address; -1 when nothing is mapped there, or the tables are not in the dump. */
  physical(address: bigint): number {
    const status = this.#walker.walk(this.#space, hi32(address), lo32(address), PR, false)
    return status === WALK_OK ? toDouble(this.#walker.outHi, this.#walker.outLo) : -1
  }

  /** Null where the kernel maps nothing, or the dump does not hold it. */
  bytes(address: bigint, count: number): Uint8Array | null {
    const out = new Uint8Array(count)
    for (let done = 0; done < count; ) {
      const at = address + BigInt(done)
      const length = Math.min(count - done, Number(PAGE - (at % PAGE)))
      const pa = this.physical(at)
      if (pa < 0 || this.#memory.indexAt(doubleHi(pa), doubleLo(pa) & ~3) < 0) return null
      out.set(this.#memory.read(pa, length), done)
      done += length
    }
    return out
  }

  u32(address: bigint): number | null {
    const bytes = this.bytes(address, 4)
    return bytes === null ? null : new DataView(bytes.buffer).getUint32(0, true)
  }

  u64(address: bigint): bigint | null {
    const bytes = this.bytes(address, 8)
    return bytes === null ? null : new DataView(bytes.buffer).getBigUint64(0, true)
  }

  /** Text up to a zero byte. */
  text(address: bigint, most: number): string | null {
    const bytes = this.bytes(address, most)
    if (bytes === null) return null
    const end = bytes.indexOf(0)
    return new TextDecoder('latin1').decode(end < 0 ? bytes : bytes.subarray(0, end))
  }
}

/** The memory as the kernel that wrote this VMCOREINFO maps it; null when it does not say enough, or its tables are not there. */
export function kernelMemory(memory: PhysicalMemory, info: VmcoreInfo): KernelMemory | null {
  const top = info.symbol('swapper_pg_dir') ?? info.symbol('init_top_pgt')
  const base = info.number('phys_base')
  // With memory encryption a bit of each entry is no address.
  if (top === null || base === null || (info.number('sme_mask') ?? 0n) !== 0n) return null
  const root = top - KERNEL_MAP + base
  if (root <= 0n || root >= 1n << 52n || root % PAGE !== 0n) return null
  const kernel = new KernelMemory(memory, Number(root), info.number('pgtable_l5_enabled') === 1n ? 5 : 4)
  return kernel.physical(top) === Number(root) ? kernel : null
}
