/** The structures of SMMUv3 for tools: names, families, and what can be wrong with their values. */
import { encode, getNumber, layout, uint, type Words } from '../../base/layout.ts'
import type { Structure, StructureSet, Surroundings, Verdict } from '../structure.ts'
import { CD } from './cd.ts'
import { brokenCdRules, brokenSteRules } from './check.ts'
import { checkCommand } from './command-rules.ts'
import { COMMANDS, commandOf } from './commands.ts'
import { EVENTS, eventName, eventOf } from './events.ts'
import { featuresFromIdr, GENEROUS_IDR, type SmmuFeatures } from './features.ts'
import { L1CD, L1STD } from './l1.ts'
import { PRI } from './pri.ts'
import { CR2, REGISTERS } from './registers.ts'
import { remarksCd, remarksSte } from './remarks.ts'
import { CONFIG_S1, STE } from './ste.ts'
import type { Broken } from './ste-rules.ts'

/** Registers that are not known are those of an SMMU that has everything. */
function featuresAround(around: Surroundings): SmmuFeatures {
  const cr2 = Uint32Array.of(Number(around.register('CR2') ?? 0n))
  return featuresFromIdr(
    (name) => Number(around.register(name) ?? GENEROUS_IDR[name as keyof typeof GENEROUS_IDR] ?? 0),
    getNumber(cr2, CR2.fields.E2H) === 1,
  )
}

function verdicts(kind: Verdict['kind'], broken: readonly Broken[]): Verdict[] {
  return broken.map(({ rule, section }) => ({ kind, text: rule, section }))
}

/** The STE that a CD is taken to be reached through when nobody says: stage 1 only, EL1. */
const PLAIN_STE = encode(STE, { V: 1, Config: CONFIG_S1 })

const tables: Structure[] = [
  {
    name: 'STE',
    kind: 'table entry',
    what: 'stream table entry',
    section: '5.2',
    layout: STE,
    refusal: 'C_BAD_STE',
    check(words, at, around) {
      const features = featuresAround(around)
      const broken = brokenSteRules(words, at, features)
      return broken.length > 0 ? verdicts('illegal', broken) : verdicts('note', remarksSte(words, at, features))
    },
  },
  {
    name: 'CD',
    kind: 'table entry',
    what: 'context descriptor: stage 1 of one address space',
    section: '5.4',
    layout: CD,
    refusal: 'C_BAD_CD',
    check(words, at, around) {
      const features = featuresAround(around)
      const ste = around.structure('STE') ?? PLAIN_STE
      const broken = brokenCdRules(words, at, ste, 0, features)
      return broken.length > 0 ? verdicts('illegal', broken) : verdicts('note', remarksCd(words, at, ste, 0, features))
    },
  },
  {
    name: 'L1STD',
    kind: 'table entry',
    what: 'level 1 descriptor of a stream table',
    section: '5.1',
    layout: L1STD,
    refusal: 'C_BAD_STREAMID',
    check(words, at) {
      const span = getNumber(words, L1STD.fields.Span, at)
      if (span > 11) return [{ kind: 'illegal', text: 'L1STD.Span is reserved, and behaves as 0: no STEs here', section: '5.1' }]
      const text = span === 0 ? 'no STEs here' : `${2 ** (span - 1)} ${span === 1 ? 'STE' : 'STEs'} here`
      return [{ kind: 'note', text, section: '5.1' }]
    },
  },
  { name: 'L1CD', kind: 'table entry', what: 'level 1 descriptor of a CD table', section: '5.3', layout: L1CD },
]

/** Words that are called by the name of one command or event must be that one. */
function notThis(number: number, wanted: number, name: (number: number) => string): Verdict[] {
  return number === wanted
    ? []
    : [{ kind: 'illegal', text: `bits 7:0 are 0x${number.toString(16)}: that is ${name(number)}`, section: null }]
}

const commands: Structure[] = [...COMMANDS.values()].map((command) => ({
  name: command.name,
  kind: 'command',
  what: 'command',
  section: command.section,
  layout: command.layout,
  refusal: 'CERROR_ILL',
  check(words: Words, at: number, around: Surroundings): Verdict[] {
    const opcode = words[at]! & 0xff
    const other = notThis(opcode, command.opcode, (number) => COMMANDS.get(number)?.name ?? 'reserved')
    if (other.length > 0) return other
    const broken = checkCommand(words, at, featuresAround(around))
    return broken === null ? [] : verdicts('illegal', [broken])
  },
}))

const events: Structure[] = [...EVENTS.values()].map((event) => ({
  name: event.name,
  kind: 'event',
  what: event.meaning,
  section: event.section,
  layout: event.layout,
  check: (words: Words, at: number) => notThis(words[at]! & 0xff, event.number, eventName),
}))

const byName = (list: readonly Structure[], name: string | undefined) => list.find((structure) => structure.name === name) ?? null

const families: Structure[] = [
  {
    name: 'CMD',
    kind: 'command',
    what: 'any command, told by its opcode',
    section: '4.1.1',
    layout: layout('CMD', 128, { opcode: uint(7, 0, 'opcode') }),
    pick: (words, at) => byName(commands, commandOf(words, at)?.name),
  },
  {
    name: 'EVENT',
    kind: 'event',
    what: 'any event record, told by its number',
    section: '7.3',
    layout: layout('EVENT', 256, { type: uint(7, 0, 'event number') }),
    pick: (words, at) => byName(events, eventOf(words, at)?.name),
  },
]

const pageRequests: Structure[] = [
  {
    name: 'PRI',
    kind: 'page request',
    what: 'entry of the PRI queue: a PCIe page request',
    section: '8',
    layout: PRI,
    check(words, at) {
      const p = (name: keyof typeof PRI.fields) => getNumber(words, PRI.fields[name], at)
      const marker = p('Last') === 1 && p('R') === 0 && p('W') === 0 && p('SSV') === 1
      return marker
        ? [{ kind: 'note', text: 'a Stop Marker: the device stops using this PASID; it gets no response', section: '8' }]
        : []
    },
  },
]

const registers: Structure[] = REGISTERS.map((register) => ({
  name: register.name,
  kind: 'register',
  what: `register at 0x${register.offset.toString(16)}, ${register.access === 'RO' ? 'read only' : 'read and write'}`,
  section: register.section,
  layout: register.layout,
}))

export const SMMUV3_STRUCTURES: StructureSet = {
  key: 'smmuv3',
  name: 'Arm SMMUv3',
  manual: 'Arm IHI 0070',
  registerPrefix: 'SMMU_',
  surroundings: {
    registers: ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'AIDR', 'CR2'],
    registersUnless: 'one that has everything',
    structures: [{ name: 'STE', what: 'for CD: the STE through which it is reached (else: stage 1 only, EL1)' }],
  },
  structures: [...tables, ...families, ...commands, ...events, ...pageRequests, ...registers],
}
