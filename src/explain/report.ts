/** What a log reports, in one form for all architectures. The same form is used by the corpus of real logs. */
import type { Access } from '../base/types.ts'

/** Whose messages. */
export type LogArch = 'intel-vtd' | 'amd-vi' | 'arm-smmuv3' | 'arm-smmuv2' | 'riscv-iommu'

export type ReportKind =
  /** A memory access was refused. */
  | 'dma-fault'
  /** An interrupt message was refused. */
  | 'interrupt-fault'
  /** A device table entry is illegal or cannot be read (AMD). */
  | 'device-table'
  /** The structures of a stream, device or process are illegal or cannot be read. */
  | 'config'
  | 'invalidation-timeout'
  | 'invalidation-error'
  | 'command-error'
  | 'command-timeout'
  /** A page request was refused. */
  | 'page-request'
  /** SMMUv2: a fault that no context bank took. */
  | 'global-fault'
  | 'sva-unavailable'
  /** Other messages of an IOMMU's driver. */
  | 'other'

/** One event. A value that the text does not give is null. */
export interface Report {
  readonly kind: ReportKind
  /** `SSSS:BB:DD.F`, or `sid:0x…` for a StreamID or device id. */
  readonly device: string | null
  readonly pasid: number | null
  /** The address that the device used, lower case, no leading zeros. Those of commands and tables are in `fields`. */
  readonly address: string | null
  readonly access: Access | null
  /** VT-d fault reason, SMMUv3 event number, SMMUv2 FSR or GFSR, RISC-V cause; AMD has none. */
  readonly code: number | null
  /** As printed or, where only a code is printed, as the code is usually called. */
  readonly name: string | null
  /** Further facts, by architecture. */
  readonly fields: Readonly<Record<string, unknown>>
}

/** A report while lines are still added to it. */
export type OpenReport = { -readonly [Key in keyof Report]: Report[Key] } & { fields: Record<string, unknown> }

/** A report, and where it came from. */
export interface Finding {
  readonly arch: LogArch
  readonly report: OpenReport
  /** First line, counted from 1. */
  readonly line: number
  /** The IOMMU that reports, as printed: `arm-smmu-v3.0.auto`, `dmar12`, `ivhd0`. */
  readonly instance: string | null
  /** Who printed it. */
  readonly printer: 'linux' | 'xen' | 'qemu'
  /** The device's driver, or whatever stands before its address in the message: `nvme`. */
  readonly driver: string | null
  /** What a reader should know about the text: cut off, put together, contradicting itself. */
  readonly notes: string[]
}

/** A report of a kind, empty but for that. */
export function reportOf(kind: ReportKind, values: Partial<Report> = {}): OpenReport {
  return {
    kind,
    device: null,
    pasid: null,
    address: null,
    access: null,
    code: null,
    name: null,
    ...values,
    fields: { ...values.fields },
  }
}

/** `0x1f` out of printed digits, with `0x` or without; null when there are none or too many for 64 bits. */
export function hexOf(digits: string | undefined): string | null {
  if (digits === undefined) return null
  const plain = digits
    .replace(/^0x/i, '')
    .replace(/^0+(?=.)/, '')
    .toLowerCase()
  return /^[0-9a-f]{1,16}$/.test(plain) ? `0x${plain}` : null
}

/** Printed hexadecimal digits as a number; null when they are none, or not exact. */
export function hexNumber(digits: string | undefined): number | null {
  const text = hexOf(digits)
  const value = text === null ? Number.NaN : Number(text)
  return Number.isSafeInteger(value) ? value : null
}

/** A PASID as printed: all ones (20 or 32 bits) is how some kernels spell that there is none. */
export function pasidOf(digits: string | undefined): number | null {
  const value = hexNumber(digits)
  return value === null || value >= 0xfffff ? null : value
}

const PCI = /^(?:([0-9a-f]{4,8}):)?(?:0x)?([0-9a-f]{1,2}):(?:0x)?([0-9a-f]{1,2})[.:](?:0x)?0?([0-7])$/i

/** `SSSS:BB:DD.F` of whatever spelling: `3:0.1`, `[0x03:0x00.1`, QEMU's `03:00:01`. Null when it is no PCI address. */
export function pciOf(text: string | undefined): string | null {
  const match = PCI.exec(text?.trim() ?? '')
  if (match === null || Number.parseInt(match[3]!, 16) > 31) return null
  const [, segment = '0', bus, device, fn] = match
  return `${segment.padStart(4, '0')}:${bus!.padStart(2, '0')}:${device!.padStart(2, '0')}.${fn}`.toLowerCase()
}

/** A requester ID as PCI address. */
export function pciOfId(id: number, segment = 0): string {
  const two = (value: number) => value.toString(16).padStart(2, '0')
  return `${segment.toString(16).padStart(4, '0')}:${two((id >>> 8) & 0xff)}:${two((id >>> 3) & 31)}.${id & 7}`
}
