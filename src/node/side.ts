/**
 * `side.json` of a capture: what is known about a captured machine besides its memory. Registers, PCI devices, and translations that
 * the machine itself made or that its kernel vouches for. Unknown keys are let through: later captures may say more.
 */
import * as v from 'valibot'
import { parseNumber } from '../base/hex.ts'
import { InputError } from './errors.ts'

/** `0x1f`, `31` in quotes, or a JSON number that is exact. */
export const Big = v.pipe(
  v.union([v.string(), v.number()], (issue) => `expected a number or a string like '0x1f', got ${issue.received}`),
  v.transform((given) => (typeof given === 'string' ? parseNumber(given) : Number.isSafeInteger(given) ? BigInt(given) : null)),
  v.check((value): boolean => value !== null, "expected a whole number, or a string like '0x1f' for large ones"),
  v.transform((value) => value as bigint),
  v.check((value) => value >= 0n && value < 1n << 64n, 'expected a number from 0 to 2^64 - 1'),
)
/** The same, for what is small: ids, sizes of pages, offsets. */
export const Small = v.pipe(
  Big,
  v.check((value) => value <= BigInt(Number.MAX_SAFE_INTEGER), 'expected a number below 2^53'),
  v.transform(Number),
)
const DeviceNumber = v.pipe(
  Small,
  v.check((value) => value < 2 ** 32, 'expected a device id below 2^32'),
)
const PasidNumber = v.nullable(
  v.pipe(
    Small,
    v.check((value) => value < 2 ** 20, 'expected a PASID below 2^20'),
  ),
)
const Rights = v.pipe(v.string(), v.regex(/^r?w?x?$/, "expected permissions like 'rw', 'r' or 'rwx'"))
const AccessLetter = v.nullable(v.picklist(['r', 'w', 'x'], "expected 'r', 'w', 'x' or null"))
const Words = v.array(v.pipe(v.string(), v.regex(/^(0x)?[0-9a-f]{1,16}$/i, 'expected a 64-bit word in hexadecimal')))

const Register = v.looseObject({
  name: v.string(),
  offset: Small,
  size: v.pipe(
    v.number(),
    v.check((bytes) => bytes === 4 || bytes === 8, 'expected 4 or 8'),
  ),
  value: Big,
})
const PciDevice = v.looseObject({
  bdf: v.pipe(
    v.string(),
    v.regex(/^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/i, "expected a PCI address like '0000:00:06.0'"),
  ),
  /** Requester id, where it is not what the address says. */
  devid: v.optional(DeviceNumber),
  vendor: v.optional(Small),
  device: v.optional(Small),
  driver: v.optional(v.nullable(v.string())),
  iommu_group: v.optional(v.nullable(v.number())),
  domain_type: v.optional(v.nullable(v.string())),
})
/** One address and where it goes. */
const Expected = v.looseObject({
  device: v.optional(v.string()),
  devid: v.optional(DeviceNumber),
  pasid: v.optional(PasidNumber),
  iova: Big,
  access: v.optional(AccessLetter),
  pa: Big,
  page_size: v.optional(v.nullable(Small)),
  perm: v.optional(v.nullable(Rights)),
})
const KernelMapping = v.looseObject({
  device: v.optional(v.string()),
  devid: v.optional(DeviceNumber),
  pasid: v.optional(PasidNumber),
  iova: Big,
  size: v.pipe(
    Big,
    v.check((bytes) => bytes > 0n, 'expected at least one byte'),
  ),
  pa: Big,
  page_size: v.optional(v.nullable(Small)),
  pte_perm: v.optional(v.nullable(Rights)),
})
const ProvokedFault = v.looseObject({
  device: v.optional(v.string()),
  devid: v.optional(DeviceNumber),
  pasid: v.optional(PasidNumber),
  iova: Big,
  access: v.optional(AccessLetter),
  what: v.optional(v.string()),
  /** What an independent walk of the tables finds there; null: nothing. */
  walk: v.optional(v.nullable(v.looseObject({ pa: Big, page_size: v.optional(Small), perm: v.optional(Rights) }))),
})
/** An answer of the IOMMU's own interface for debugging (RISC-V: `tr_req_iova`, `tr_req_ctl` → `tr_response`). */
const DebugTranslation = v.looseObject({
  devid: DeviceNumber,
  pasid: v.optional(PasidNumber),
  iova: Big,
  no_write: v.optional(Small, 0),
  tr_response: Big,
  /** Where it leads; null: the interface said that it faults. */
  pa: v.nullable(Big),
})
/** What an independent walk found behind one PASID. */
const SpaceFacts = v.looseObject({
  fmt: v.optional(v.string()),
  leaf_histogram: v.optional(v.record(v.string(), v.number())),
})
const DeviceFacts = v.looseObject({ spaces: v.optional(v.record(v.string(), SpaceFacts)) })

const Side = v.looseObject({
  name: v.optional(v.string()),
  iommu: v.string("expected the kind of IOMMU: 'smmuv3', 'vtd', 'amdvi' or 'riscv'"),
  kernel: v.optional(v.string()),
  qemu_version: v.optional(v.string()),
  registers: v.array(Register),
  pci: v.optional(v.array(PciDevice), []),
  /** Lines of `/proc/iomem`. */
  iomem: v.optional(v.array(v.string()), []),
  tables: v.optional(v.record(v.string(), DeviceFacts), {}),
  ste_without_tables: v.optional(v.record(v.string(), v.number()), {}),
  expected: v.optional(v.array(Expected), []),
  guest_dma: v.optional(v.array(Expected), []),
  kernel_mappings: v.optional(v.array(KernelMapping), []),
  sva_pages: v.optional(v.array(Expected), []),
  ats_translations: v.optional(v.array(Expected), []),
  debug_translations: v.optional(v.array(DebugTranslation), []),
  faults_provoked: v.optional(v.array(ProvokedFault), []),
})

export type CaptureSide = v.InferOutput<typeof Side>
export type ExpectedTranslation = v.InferOutput<typeof Expected>
export type KernelMapping = v.InferOutput<typeof KernelMapping>
export type ProvokedFault = v.InferOutput<typeof ProvokedFault>
export type DebugTranslation = v.InferOutput<typeof DebugTranslation>
export type DeviceFacts = v.InferOutput<typeof DeviceFacts>
export type SpaceFacts = v.InferOutput<typeof SpaceFacts>

/** Raw words of an entry as `tables` has them (`ste`, `cd`, `dc`, `pe` …); null when they are not there. */
export function factWords(facts: Readonly<Record<string, unknown>>, key: string): readonly bigint[] | null {
  const parsed = v.safeParse(Words, facts[key])
  return parsed.success ? parsed.output.map((word) => BigInt(word.startsWith('0x') ? word : `0x${word}`)) : null
}

/** A number of `tables` (`config`, `asid`, `ttb0` …); null when it is not there. */
export function factNumber(facts: Readonly<Record<string, unknown>>, key: string): bigint | null {
  const parsed = v.safeParse(Big, facts[key])
  return parsed.success ? parsed.output : null
}

/**
 * Reads and checks the JSON text.
 * @throws InputError naming the file, the path of the value and what was expected there.
 */
export function parseSide(file: string, text: string): CaptureSide {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new InputError(file, null, `is no JSON: ${(error as Error).message}`)
  }
  const parsed = v.safeParse(Side, json, { abortEarly: true })
  if (parsed.success) return parsed.output
  // A virtio-iommu's mappings are told one by one: there are no tables, and no kind of IOMMU that is known here.
  if (typeof json === 'object' && json !== null && 'endpoints' in json && 'mappings' in json && !('iommu' in json))
    throw new InputError(
      file,
      null,
      'tells the mappings of a virtio-iommu, which has no tables in memory: there is nothing to read',
      'unsupported',
    )
  const issue = parsed.issues[0]
  const path = (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('')
  throw new InputError(file, `$${path}`, issue.input === undefined ? 'is missing' : issue.message)
}
