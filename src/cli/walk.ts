/** `iomm walk`: why a DMA goes where it goes, step by step through the real tables. */
import { Command } from 'commander'
import type { Transaction } from '../base/types.ts'
import {
  CliError,
  colourFor,
  EXIT_FINDINGS,
  EXIT_OK,
  EXIT_USAGE,
  harmless,
  note,
  numberArgument,
  print,
  toJson,
} from './common.ts'
import { explainedBy, openInput, parseDevice } from './input.ts'
import { COLOURS, PLAIN } from './paint.ts'
import { DUMP_HELP, type RegisterOptions, withRegisterOptions } from './registers.ts'
import { explainedText } from './walk-text.ts'

interface Options extends RegisterOptions {
  readonly write?: true
  readonly exec?: true
  readonly priv?: true
  readonly json?: true
}

export function walkCommand(): Command {
  return withRegisterOptions(
    new Command('walk')
      .summary('explain one DMA: each entry that is read, and what it decides')
      .description(
        'Follows one DMA through the tables as the hardware does, and shows every entry that is read: where it lies, its words, its ' +
          'fields, and what follows from it. Ends with the address, or with the fault and the record that the hardware writes.',
      )
      .argument('<input>', "a scenario (YAML file; its state after the last step), a capture (folder), a dump of memory, or '-'")
      .argument(
        '<device[:pasid]>',
        'PCI address (0000:00:06.0 or 00:06.0), number (0x30), or name of a device; with a PASID or not',
      )
      .argument('<address>', 'the address that the device uses', numberArgument)
      .option('--write', 'a write (else a read)')
      .option('--exec', 'an instruction fetch')
      .option('--priv', 'a privileged access')
      .option('--json', 'the steps and the outcome as JSON')
      .addHelpText(
        'after',
        `
Examples:
  iomm walk examples/two-domains.yaml 0:2 0x10000
  iomm walk test/fixtures/arm64-smmuv3-s1 0000:00:06.0 0xfffff000 --write
  iomm walk test/fixtures/arm64-smmuv3-s1 00:06.0 0xff1f7020 --write --json | jq .outcome
  iomm walk ../shared/captures/arm64-smmuv3-pasid-2lvl 00:06.0:17185 0x2000000000
  iomm walk vmcore 00:06.0 0xfffff000 --smmu strtab-base=0x44b72000,strtab-base-cfg=0x10210
${DUMP_HELP}

Exit code: 0 the DMA is translated, 1 it faults, 2 usage, 3 unreadable input, 4 not supported.`,
      )
      .action(async (input: string, device: string, address: bigint, options: Options) => {
        process.exitCode = await walk(input, device, address, options)
      }),
  )
}

async function walk(input: string, device: string, address: bigint, options: Options): Promise<number> {
  if (options.write && options.exec)
    throw new CliError(EXIT_USAGE, '--write and --exec exclude each other: an access is one of them.')
  if (address >= 1n << 64n) throw new CliError(EXIT_USAGE, 'ADDRESS has more than 64 bits.')
  const machine = await openInput(input, options)
  for (const { severity, place, text } of machine.remarks) note(harmless(`${severity}: ${place}: ${text}`))
  const { id, name, pasid } = parseDevice(device, machine.devices)
  const transaction: Transaction = {
    device: id,
    ...(pasid === null ? {} : { pasid }),
    iova: address,
    access: options.write ? 'write' : options.exec ? 'execute' : 'read',
    privileged: options.priv ?? false,
  }
  const { outcome, steps } = explainedBy(machine.model, transaction, EXIT_USAGE)
  if (options.json) {
    const record = outcome.ok || outcome.record === null ? null : machine.architecture.describeRecord(outcome.record)
    print(toJson({ machine: machine.title, deviceName: name, transaction, steps, outcome, record }))
  } else {
    const paint = colourFor(process.stdout) ? COLOURS : PLAIN
    print(explainedText({ transaction, deviceName: name, outcome, steps }, machine.architecture, paint))
  }
  return outcome.ok ? EXIT_OK : EXIT_FINDINGS
}
