/** Codes of errors that steps can expect: of the core, of processes, of page tables. */
import type { IommErrorCode } from '../core/error.ts'
import type { MapError } from '../format/pt/mapper.ts'
import type { MmError } from '../mm/vma.ts'

/** `stuck`: a step that can never end, because everything waits. */
type Code = IommErrorCode | MmError['code'] | MapError['code'] | 'stuck'

/** Every code: a new one that is missing here does not compile. */
const CODES: Readonly<Record<Code, true>> = {
  PasidOutOfRange: true,
  PasidExhausted: true,
  NoPasid: true,
  Busy: true,
  NotBound: true,
  NoDomain: true,
  Unsupported: true,
  AsidExhausted: true,
  MmDead: true,
  Reserved: true,
  Exists: true,
  Foreign: true,
  UnknownGroup: true,
  BadArgument: true,
  Hardware: true,
  unaligned: true,
  'out-of-range': true,
  overlap: true,
  'not-mapped': true,
  dead: true,
  'bad-protection': true,
  memory: true,
  'already-mapped': true,
  'no-rights': true,
  stuck: true,
}

export const ERROR_CODES: readonly string[] = Object.keys(CODES)
