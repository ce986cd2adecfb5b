/** Descriptors of the invalidation queue for tools: in both widths, with what the hardware refuses. Intel VT-d 4.1, section 6.5.2. */
import { getNumber, layout, oneOf, type Words } from '../../base/layout.ts'
import type { Structure, Surroundings, Verdict } from '../structure.ts'
import {
  DESCRIPTOR_NAMES,
  DESCRIPTORS,
  descriptorType,
  P_IOTLB_INV_DSC,
  TYPE_CONTEXT_CACHE,
  TYPE_DEVICE_TLB,
  TYPE_INTERRUPT_ENTRY,
  TYPE_IOTLB,
  TYPE_PAGE_GROUP_RESPONSE,
  TYPE_PASID_CACHE,
  TYPE_PASID_DEVICE_TLB,
  TYPE_PASID_IOTLB,
  TYPE_WAIT,
} from './descriptors.ts'
import { CAP, FULL_CAP } from './registers.ts'

const ABOUT: Readonly<Record<number, readonly [what: string, section: string]>> = {
  [TYPE_CONTEXT_CACHE]: ['invalidates context entries', '6.5.2.1'],
  [TYPE_PASID_CACHE]: ['invalidates PASID table entries', '6.5.2.2'],
  [TYPE_IOTLB]: ['invalidates translations, by domain', '6.5.2.3'],
  [TYPE_PASID_IOTLB]: ['invalidates translations, by domain and PASID', '6.5.2.4'],
  [TYPE_DEVICE_TLB]: ['invalidates translations that a device caches', '6.5.2.5'],
  [TYPE_PASID_DEVICE_TLB]: ['invalidates translations that a device caches, by PASID', '6.5.2.6'],
  [TYPE_INTERRUPT_ENTRY]: ['invalidates interrupt remapping table entries', '6.5.2.7'],
  [TYPE_WAIT]: ['waits for the descriptors before it', '6.5.2.8'],
  [TYPE_PAGE_GROUP_RESPONSE]: ['answers a page request group', '7.7.1'],
}

/** Granularities (bits 5:4) that are legal, as a mask. */
const GRANULARITIES: Readonly<Record<number, number>> = {
  [TYPE_CONTEXT_CACHE]: 0b1110,
  [TYPE_IOTLB]: 0b1110,
  [TYPE_PASID_IOTLB]: 0b1100,
  [TYPE_PASID_CACHE]: 0b1011,
}
const PAGE = 3

const typeText = (type: number) => DESCRIPTOR_NAMES[type as 1] ?? `type 0x${type.toString(16)}`

/** The first rule that the values break. IQERCD.IQEI says 4 for reserved values, 3 for types that do not exist. */
function broken(type: number, words: Words, at: number, around: Surroundings): string | null {
  const low = words[at]!
  const actual = descriptorType(low)
  if (actual !== type) return `the type says ${typeText(actual)}`
  const granularity = (low >>> 4) & 3
  const legal = GRANULARITIES[type]
  if (legal !== undefined && ((legal >>> granularity) & 1) === 0) return `granularity ${granularity} is reserved`
  if ((type === TYPE_IOTLB || type === TYPE_PASID_IOTLB) && granularity === PAGE) {
    const most = getNumber(Uint32Array.from(capWords(around)), CAP.fields.MAMV)
    const mask = getNumber(words, P_IOTLB_INV_DSC.fields.AM, at)
    if (mask > most) return `AM ${mask} is larger than CAP.MAMV (${most})`
  }
  return null
}

function capWords(around: Surroundings): number[] {
  const cap = around.register('CAP') ?? FULL_CAP
  return [Number(cap & 0xffffffffn), Number(cap >> 32n)]
}

/** A descriptor in a queue of this width. */
function structure(type: number, bits: 128 | 256): Structure {
  const form = DESCRIPTORS[type]!
  const [what, section] = ABOUT[type]!
  return {
    name: form.name,
    kind: 'command',
    what,
    section,
    layout: form.bits === bits ? form : layout(form.name, bits, form.fields),
    refusal: 'invalidation queue error (FSTS.IQE)',
    check(words, at, around): readonly Verdict[] {
      if (form.bits > bits)
        return [{ kind: 'illegal', text: 'it exists in queues of 256-bit descriptors only (IQA.DW)', section }]
      const text = broken(type, words, at, around)
      return text === null ? [] : [{ kind: 'illegal', text, section }]
    },
  }
}

const types = Object.keys(DESCRIPTORS).map(Number)
const BY_WIDTH = {
  128: new Map(types.map((type) => [type, structure(type, 128)])),
  256: new Map(types.map((type) => [type, structure(type, 256)])),
} as const

const family = (name: string, bits: 128 | 256): Structure => ({
  name,
  kind: 'command',
  what: `any descriptor of a queue of ${bits}-bit ones, told by its type`,
  section: '6.5.2',
  layout: layout(name, bits, { TYPE: oneOf(3, 0, DESCRIPTOR_NAMES, 'type, bits 3:0') }),
  pick: (words, at) => BY_WIDTH[bits].get(descriptorType(words[at]!)) ?? null,
})

/** What a descriptor is called: `iotlb_inv_dsc`; `type 0x7f` when it is none. */
export function descriptorName(words: Words, at = 0): string {
  return typeText(descriptorType(words[at]!))
}

/** The families, and each descriptor by its name, as narrow as it comes. */
export const DESCRIPTOR_STRUCTURES: readonly Structure[] = [
  family('DESCRIPTOR', 128),
  family('DESCRIPTOR_256', 256),
  ...types.map((type) => structure(type, DESCRIPTORS[type]!.bits === 128 ? 128 : 256)),
]
