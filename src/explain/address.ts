/**
 * What kind of address a device used. An IOMMU reports an address and nothing about it; yet where it lies often tells who made it: the
 * DMA API hands out addresses from the top down, doorbells of interrupts have fixed places, pointers of CPUs look like pointers.
 * Every rule says how sure it is. What no rule knows is said to be unknown.
 */
import { hex, size } from '../base/hex.ts'
import type { LogArch } from './report.ts'

export type Confidence = 'high' | 'medium' | 'low'

export type AddressClass =
  | 'null'
  | 'x86-interrupt'
  | 'amd-interrupt'
  | 'amd-special'
  | 'its-doorbell'
  | 'msi-window'
  | 'known-region'
  | 'kernel-pointer'
  | 'user-pointer'
  | 'too-wide'
  | 'dma-api-32'
  | 'dma-api-top'
  | 'legacy-hole'
  | 'below-4g'
  | 'above-4g'

/** One rule that matched. */
export interface AddressKind {
  readonly kind: AddressClass
  readonly confidence: Confidence
  /** What it means, in a sentence without a full stop. */
  readonly says: string
  /** The rule, so that a reader can judge it. */
  readonly rule: string
}

/** A range that something else in the log, or a dump beside it, gives a name. `last` is inside. */
export interface KnownRange {
  readonly first: bigint
  readonly last: bigint
  /** `reserved (boot memory map)`, `RMRR`. */
  readonly name: string
  /** Whether it is ordinary memory of the system: then a device that uses the bare address does not use the DMA API. */
  readonly ram: boolean
}

/** What is known beside the address; all of it optional. */
export interface AddressContext {
  readonly arch?: LogArch
  readonly pasid?: number | null
  readonly access?: 'read' | 'write' | 'execute' | null
  readonly ranges?: readonly KnownRange[]
}

const GIB4 = 1n << 32n
const MIB = 1n << 20n
/** Interrupt and EOI range of HyperTransport: AMD 48882, 2.1.2 "Special address ranges". */
const AMD_INTERRUPT = [0xfd_f800_0000n, 0xfd_f8ff_ffffn] as const
const AMD_SPECIAL = [0xfd_0000_0000n, 0xff_ffff_ffffn] as const
/** Where Linux puts the window of software-mapped MSIs on Arm (MSI_IOVA_BASE, MSI_IOVA_LENGTH). */
const ARM_MSI_WINDOW = [0x0800_0000n, 0x080f_ffffn] as const
/** GITS_TRANSLATER lies at this offset of the ITS's translation page (Arm IHI 0069, 12.19). */
const ITS_DOORBELL = 0x40n
/** Widths that IOMMUs and page tables have. */
const WIDTHS = [39n, 42n, 44n, 48n, 52n, 57n]

const within = (address: bigint, [first, last]: readonly [bigint, bigint]) => address >= first && address <= last

/** The lower 40 bits where the rest is a sign: some logs print it so. */
function amdAddress(address: bigint): bigint {
  return address >> 40n === 0xffffffn ? address & ((1n << 40n) - 1n) : address
}

/** Whether AMD's IOMMU takes a request to this address for an interrupt or EOI. */
export function isAmdInterruptAddress(address: bigint): boolean {
  return within(amdAddress(address), AMD_INTERRUPT)
}

/**
 * All rules that match, the most telling first; empty when none does.
 * @example classifyAddress(0xfffc0000n)[0]?.kind // 'dma-api-32'
 */
export function classifyAddress(address: bigint, context: AddressContext = {}): AddressKind[] {
  const { arch, pasid = null } = context
  const found: AddressKind[] = []
  const say = (kind: AddressClass, confidence: Confidence, says: string, rule: string) =>
    found.push({ kind, confidence, says, rule })
  const arm = arch === 'arm-smmuv3' || arch === 'arm-smmuv2'
  const x86 = arch === 'intel-vtd' || arch === 'amd-vi'

  if (address < 0x1000n) {
    say('null', 'high', 'a null address, or an offset from one: the device was given no buffer', 'below 0x1000')
    return found
  }
  if (arch === 'amd-vi' && within(amdAddress(address), AMD_SPECIAL)) {
    const sign = amdAddress(address) === address ? '' : ', printed sign-extended'
    if (isAmdInterruptAddress(address))
      say(
        'amd-interrupt',
        'high',
        'the interrupt and EOI range: an interrupt, not memory',
        `0xfd_f8000000 to 0xfd_f8ffffff${sign}`,
      )
    else
      say('amd-special', 'high', 'a special address range of HyperTransport, not memory', `0xfd_00000000 to 0xff_ffffffff${sign}`)
    return found
  }
  if (x86 && within(address, [0xfee0_0000n, 0xfeef_ffffn]))
    say('x86-interrupt', 'high', 'the x86 interrupt range: a write here is an MSI, not data', '0xfee00000 to 0xfeefffff')

  for (const { first, last, name, ram } of (context.ranges ?? []).filter((range) => within(address, [range.first, range.last])))
    say(
      'known-region',
      'high',
      `${ram ? 'system memory by its physical address' : 'a region that is set apart'}: ${name}`,
      `${hex(first)} to ${hex(last)}`,
    )

  if (arm && (address & 0xfffn) === ITS_DOORBELL && context.access === 'write')
    say(
      'its-doorbell',
      'medium',
      'the offset of GITS_TRANSLATER, the MSI doorbell of an Arm GIC ITS: the write is an interrupt whose doorbell page is not mapped',
      'a write to offset 0x40 of a page',
    )
  if (arm && within(address, ARM_MSI_WINDOW))
    say('msi-window', 'medium', 'the window in which Linux maps MSI doorbells for assigned devices', '0x8000000 to 0x80fffff')

  pointers(address, pasid, arm, say)
  if (found.some(({ kind, confidence }) => kind.endsWith('-pointer') && confidence === 'high')) return found
  ranges(address, pasid, say)
  return found
}

type Say = (kind: AddressClass, confidence: Confidence, says: string, rule: string) => void

/** Addresses that look like those that CPUs use. */
function pointers(address: bigint, pasid: number | null, arm: boolean, say: Say): void {
  const top = address >> 48n
  if (top === 0xffffn) {
    const direct = address >> 40n === 0xffff88n ? ' (of the direct map of x86-64)' : ''
    say(
      'kernel-pointer',
      'high',
      `a kernel's virtual address${direct}: a pointer was given to the device in place of a DMA address`,
      'bits 63:48 all ones',
    )
    return
  }
  if (top !== 0n) return
  const high = address >> 40n
  const x86User = (high === 0x7fn && address < 0x7fff_ffff_f000n) || high === 0x55n || high === 0x56n
  const armUser = arm && (high === 0xaan || (high === 0xffn && pasid !== null))
  if (!x86User && !armUser) return
  const where = high === 0x7fn || high === 0xffn ? 'stack, library or mapping' : 'program or heap'
  if (pasid !== null)
    say(
      'user-pointer',
      'high',
      `a process's virtual address (${where}), as shared virtual addressing uses it`,
      `0x${high.toString(16)}… with a PASID`,
    )
  else
    say(
      'user-pointer',
      'medium',
      `looks like a process's virtual address (${where}), and comes without a PASID: the device did not send its PASID, or a pointer was given to it in place of a DMA address`,
      `0x${high.toString(16)}… without a PASID`,
    )
}

/** Where addresses come from by where they lie. */
function ranges(address: bigint, pasid: number | null, say: Say): void {
  if (address < MIB) {
    if (address >= 0xa0000n)
      say('legacy-hole', 'medium', 'the legacy hole of a PC (VGA memory, option ROMs, BIOS)', '0xa0000 to 0xfffff')
    else say('below-4g', 'low', 'low memory: a small number is often no address at all', 'below 1 MiB')
    return
  }
  if (address < GIB4) {
    const below = GIB4 - address
    if (address >= 0xf000_0000n)
      say(
        'dma-api-32',
        below <= 256n * MIB && below <= 32n * MIB ? 'high' : 'medium',
        "just below 4 GiB, from where the kernel's DMA API hands out addresses downwards: an address of the DMA API",
        `${size(below - (below % 4096n) || 4096n)} below 4 GiB`,
      )
    else
      say(
        'below-4g',
        'low',
        'neither near 4 GiB nor near the top of an address space: rather a physical address (memory of firmware, or a driver that bypasses the DMA API) than a new one of the DMA API',
        'below 0xf0000000',
      )
    return
  }
  for (const width of WIDTHS) {
    const limit = 1n << width
    if (address >= limit || limit - address > 1n << (width - 8n < 32n ? width - 8n : 32n)) continue
    say(
      'dma-api-top',
      'medium',
      `just below the top of ${width} bits, where the DMA API hands out addresses when there is none left below 4 GiB (or it need not stay there)`,
      `within 4 GiB below 2^${width}`,
    )
    return
  }
  if (address >> 52n !== 0n) {
    say(
      'too-wide',
      'high',
      'wider than any physical address: no address of the DMA API, and not sign-extended as a pointer is',
      'bits 63:52 not zero',
    )
    return
  }
  if (address >= 1n << 46n && pasid === null)
    say(
      'too-wide',
      'low',
      'so high that few address spaces of devices reach there: a width problem, or bits that got lost or added',
      'above 2^46',
    )
  say(
    'above-4g',
    'low',
    'above 4 GiB and far from the top of an address space: rather a physical address than one of the DMA API',
    'above 4 GiB',
  )
}
