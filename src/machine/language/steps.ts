/** The steps of a scenario: what each action takes. */
import { EXPECT_FOR, type Expectation, type ExpectKey, expectation, OF_THE_MACHINE } from './expect.ts'
import { type Keys, needed, type ObjectRules, object, optional, type Read } from './object.ts'
import type { Place } from './problem.ts'
import {
  address,
  BAD,
  bytes,
  declares,
  flag,
  integer,
  list,
  named,
  nameOf,
  newName,
  oneOf,
  rights,
  type Shape,
  text,
} from './shape.ts'
import { data } from './value.ts'
import { CACHES, type CacheName, type Vocabulary } from './words.ts'

/** Most steps of one scenario, and of one interleaving. */
const MOST_STEPS = 10_000
const MOST_AT_ONCE = 64

const device = needed(nameOf('device'), 'Device.')
const process = needed(nameOf('process'), 'Process.')
const at = needed(address, 'First address, a multiple of the page size.')
const size = needed(bytes, 'Length, a multiple of the page size.')

/** A private space: its first `bindPrivate` makes it, others join it. */
const newOrKnownSpace: Shape<string> = {
  ...newName,
  read(given, reader) {
    const name = newName.read(given, reader)
    if (name !== BAD) reader.names('private space').add(name)
    return name
  },
}

const areaKeys = {
  address: at,
  size,
  rights: optional(rights, 'What the process may do there; rw where it is left out.'),
  populate: optional(flag, 'Bring the pages in at once; by default they come on first use.'),
  growsDown: optional(flag, 'A stack: an access just below it makes it grow.'),
  kernel: optional(flag, 'Only privileged accesses may use it.'),
  huge: optional(flag, 'Use large pages where they fit.'),
  shared: optional(newName, 'Shared memory of this name: every area with the name shows the same pages.'),
}
const areaSynonyms = { at: 'address', start: 'address', length: 'size', prot: 'rights' }
export type Area = Read<typeof areaKeys>
/** A VMA of a process. */
export const area: Shape<Area> = named('area', 'an area (address, size, rights …)', () =>
  object('area', areaKeys, { synonyms: areaSynonyms }),
)

/** Which address space a transaction names: none of these is a transaction without PASID. */
const target = {
  process: optional(nameOf('process'), 'Use the PASID that this process has (or had last).'),
  space: optional(nameOf('private space'), 'Use the PASID of this private space.'),
  pasid: optional(
    integer(0, 0xfffff),
    'Use this PASID, whatever it means. Without pasid, process or space the transaction carries none.',
  ),
}
const TARGET = ['process', 'space', 'pasid'] as const

const accessed = {
  read: optional(address, 'Read from this address.'),
  write: optional(address, 'Write to this address.'),
  execute: optional(address, 'Fetch instructions from this address.'),
  length: optional(integer(1, 1 << 20), 'Bytes; by default 8, or as long as a text.'),
  value: optional(data, 'What is written: a number (little-endian) or a text; by default 0.'),
  privileged: optional(flag, 'With the rights of a supervisor.'),
}
const ACCESS = ['read', 'write', 'execute'] as const

const dmaKeys = { device, ...target, ...accessed }
const cpuKeys = { process, ...accessed }
const requestKeys = {
  device,
  ...target,
  pages: optional(list(address, 1, 512), 'Addresses that the group asks for.'),
  access: optional(oneOf(['read', 'write', 'execute']), 'What for; by default read.'),
  privileged: optional(flag, 'With the rights of a supervisor.'),
  last: optional(flag, 'Whether the last of them ends the group; by default true.'),
  group: optional(integer(0, 511), 'Page request group index; by default the next free one.'),
  stopMarker: optional(flag, 'Send a stop marker instead of requests.'),
}
const mapKeys = {
  domain: optional(nameOf('domain'), 'Domain whose io_pgtable gets the mapping.'),
  space: optional(nameOf('private space'), 'Private space that gets the mapping.'),
  guest: optional(nameOf('guest'), 'Guest whose stage 1 gets the mapping.'),
  pasid: optional(integer(0, 0xfffff), "PASID of the guest's address space; by default that of transactions without one."),
  address: at,
  size: optional(bytes, 'Length; by default all of the buffer.'),
  buffer: optional(nameOf('buffer'), 'Memory to map: a buffer of this scenario.'),
  physical: optional(address, 'Memory to map: a physical address; for a guest an intermediate one.'),
  rights: optional(rights, 'What devices may do there; rw where it is left out.'),
}
const unmapKeys = {
  domain: optional(nameOf('domain'), 'Domain whose io_pgtable loses the mapping.'),
  space: optional(nameOf('private space'), 'Private space that loses the mapping.'),
  guest: optional(nameOf('guest'), 'Guest whose stage 1 loses the mapping.'),
  pasid: optional(integer(0, 0xfffff), "PASID of the guest's address space; by default that of transactions without one."),
  address: at,
  size,
}
const unbindKeys = {
  device,
  process: optional(nameOf('process'), 'Process that it was bound to.'),
  space: optional(nameOf('private space'), 'Private space that it was bound to.'),
}
const checkKeys = {
  process: optional(nameOf('process'), 'Look at this process (pasid, bonds, alive).'),
  space: optional(nameOf('private space'), 'Look at this private space (pasid, bonds).'),
  device: optional(nameOf('device'), 'Look at this device (domain, bonds).'),
}
const areaOf = { process, address: at, size }

/** What an action takes, under its own name in the schema. */
function part<const K extends Keys>(name: string, keys: K, rules: ObjectRules<K> = {}): Shape<Read<K>> {
  return named(name, `what ${name} takes`, () => object(name, keys, rules))
}

const range = (what: string) => part(what, areaOf, { synonyms: areaSynonyms })
const pages = (what: string) =>
  part(what, { process, address: at, size: optional(bytes, 'Length; by default one page.') }, { synonyms: areaSynonyms })

/** Every action but `interleave`, with what it takes. */
const actions = {
  attach: optional(
    part('attach', { device, domain: needed(nameOf('domain'), 'Domain.') }),
    'Put a device (with its group) into a domain, out of the one that it is in.',
  ),
  detach: optional(part('detach', { device }), 'Take a device (with its group) out of its domain: it is blocked.'),
  bind: optional(part('bind', { device, process }), 'Let a device use the address space of a process.'),
  unbind: optional(part('unbind', unbindKeys, { exactlyOne: [['process', 'space']] }), 'End one bond of a device.'),
  bindPrivate: optional(
    part('bindPrivate', { device, space: needed(newOrKnownSpace, 'Name of the private space; made if it is new.') }),
    'Give a device a private address space with a PASID of its own.',
  ),
  map: optional(
    part('map', mapKeys, {
      exactlyOne: [
        ['domain', 'space', 'guest'],
        ['buffer', 'physical'],
      ],
      synonyms: { at: 'address', iova: 'address', to: 'buffer' },
      check(value, reader, placeOf) {
        if (value.physical !== undefined && value.size === undefined)
          reader.problem(placeOf('physical'), "map needs 'size' where it maps a physical address")
        if (value.guest !== undefined && value.buffer !== undefined)
          reader.problem(
            placeOf('buffer'),
            'a guest knows no buffers of ours',
            "map the buffer in its domain, and that address ('physical') in the guest",
          )
        if (value.pasid !== undefined && value.guest === undefined)
          reader.problem(placeOf('pasid'), 'only a guest maps by PASID', 'a private space has one of its own')
      },
    }),
    'Map memory for DMA.',
  ),
  unmap: optional(
    part('unmap', unmapKeys, {
      exactlyOne: [['domain', 'space', 'guest']],
      synonyms: { at: 'address', iova: 'address', length: 'size' },
    }),
    'Take a mapping away.',
  ),
  dma: optional(
    part('dma', dmaKeys, {
      exactlyOne: [ACCESS],
      atMostOne: [TARGET],
      synonyms: { size: 'length', ssid: 'pasid', priv: 'privileged', exec: 'execute' },
    }),
    'A device reads or writes memory.',
  ),
  request: optional(
    part('request', requestKeys, {
      exactlyOne: [['pages', 'stopMarker']],
      atMostOne: [TARGET],
    }),
    'A device sends page requests (PRI) and does not wait.',
  ),
  cpu: optional(
    part('cpu', cpuKeys, { exactlyOne: [ACCESS], synonyms: { size: 'length', exec: 'execute' } }),
    'The process itself reads or writes memory.',
  ),
  mmap: optional(part('mmap', { process, ...areaKeys }, { synonyms: areaSynonyms }), 'Give a process a new area.'),
  munmap: optional(range('munmap'), 'Take memory of a process away.'),
  mprotect: optional(
    part('mprotect', { ...areaOf, rights: needed(rights, 'New rights.') }, { synonyms: areaSynonyms }),
    'Change the rights of memory of a process.',
  ),
  swapOut: optional(pages('swapOut'), 'Write pages to swap: the memory is free for others.'),
  migrate: optional(pages('migrate'), 'Move pages to other physical memory.'),
  fork: optional(
    part('fork', { process, child: needed(declares('process'), 'Name of the new process.') }),
    'Make a child; both share memory until one writes.',
  ),
  exec: optional(
    part('exec', { process, areas: optional(list(area), 'Areas of the new program.') }),
    'The process runs another program: its address space is replaced.',
  ),
  exit: optional(part('exit', { process }), 'The process ends.'),
  interrupts: optional(oneOf(['on', 'off']), 'Whether the OS side answers interrupts of the IOMMU.'),
  check: optional(
    part('check', checkKeys, { exactlyOne: [['process', 'space', 'device']] }),
    'Look at something; nothing happens.',
  ),
  say: optional(text, 'Say something; nothing happens.'),
} satisfies Keys

export type Actions = typeof actions
export type ActionName = keyof Actions
type Given<K extends ActionName> = Actions[K] extends { shape: Shape<infer T> } ? T : never

interface StepFrame {
  readonly place: Place
  /** What the step shows, in the words of the scenario. */
  readonly why: string | null
  /** Invalidations that get lost on their way to the hardware. */
  readonly forget: readonly CacheName[]
  readonly expect: Expectation | null
}
/** One action that others may run beside. */
export type PlainStep = { [K in ActionName]: StepFrame & { readonly action: K; readonly given: Given<K> } }[ActionName]
export type InterleaveStep = StepFrame & {
  readonly action: 'interleave'
  readonly given: { readonly seed: number; readonly steps: readonly PlainStep[] }
}
export type Step = PlainStep | InterleaveStep
/** A step with this action. */
export type StepOf<K extends ActionName> = Extract<PlainStep, { action: K }>

const frame = (words: Vocabulary) => ({
  why: optional(text, 'What this step shows.'),
  forget: optional(list(oneOf(CACHES), 1, 3), 'Invalidations of these caches get lost during this step.'),
  expect: optional(expectation(words), 'What must come out.'),
})

/** Turns a mapping with one action key into a step. */
function asStep<T extends Step>(from: Shape<{ place: Place }>, names: readonly string[], together: boolean): Shape<T> {
  return {
    ...from,
    read(given, reader) {
      const value = from.read(given, reader) as Record<string, unknown> | typeof BAD
      if (value === BAD) return BAD
      const action = names.find((name) => value[name] !== undefined)!
      const step = {
        place: value.place,
        why: value.why ?? null,
        forget: value.forget ?? [],
        expect: value.expect ?? null,
        action,
        given: value[action],
      } as unknown as T
      if (together && step.forget.length > 0) {
        reader.problem(step.place, "'forget' cannot be said of a step that runs beside others", 'say it of the interleave')
        return BAD
      }
      if (step.expect === null) return step
      const { on = {}, ...common } = step.expect
      const all = [common, ...Object.values(on).filter((one) => one !== undefined && 'place' in one)]
      const expected = all.flatMap((one) => Object.keys(one as object)) as (ExpectKey | 'place')[]
      for (const key of expected) {
        if (key === 'place') continue
        if (together && OF_THE_MACHINE.includes(key)) {
          reader.problem(
            step.expect.place,
            `'${key}' cannot be expected of a step that runs beside others`,
            'expect it of the interleave',
          )
          return BAD
        }
        const fits = EXPECT_FOR[key]
        if (fits === undefined || fits.includes(action)) continue
        reader.problem(step.expect.place, `'${key}' cannot be expected of ${action}`, `it makes sense for ${fits.join(', ')}`)
        return BAD
      }
      return step
    },
  }
}

/** The list of steps. */
export function steps(words: Vocabulary): Shape<Step[]> {
  const names = Object.keys(actions)
  const plain: Shape<PlainStep> = named('plainStep', 'a step', () =>
    asStep<PlainStep>(object('step', { ...actions, ...frame(words) }, { exactlyOne: [names as ActionName[]] }), names, true),
  )
  const interleave = object('interleave', {
    seed: optional(integer(0, 0xffffffff), 'Decides the order; by default 1.'),
    steps: needed(list(plain, 1, MOST_AT_ONCE), 'Steps that run at the same time.'),
  })
  const withSeed: Shape<InterleaveStep['given']> = {
    ...interleave,
    read(given, reader) {
      const value = interleave.read(given, reader)
      return value === BAD ? BAD : { seed: value.seed ?? 1, steps: value.steps }
    },
  }
  const all = [...names, 'interleave'] as const
  const step: Shape<Step> = named('step', 'a step (bind, dma, map …)', () =>
    asStep<Step>(
      object(
        'step',
        {
          ...actions,
          interleave: optional(withSeed, 'Several steps at the same time, in an order that the seed decides.'),
          ...frame(words),
        },
        { exactlyOne: [all as unknown as ('say' | 'interleave')[]] },
      ),
      all,
      false,
    ),
  )
  return list(step, 0, MOST_STEPS)
}
