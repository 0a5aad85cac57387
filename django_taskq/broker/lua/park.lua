#!lua flags=allow-oom
-- park | keys: live ready running waiting cancelled parked cancels wake timer ended calls answers asks locks lapses limits gated entered rates opens counting counts events | edges: running->waiting running->cancelled waiting->ready
--
-- Sets jobs aside that this worker cannot run (unknown task, arguments that do not bind) until a
-- worker releases them. Costs no attempt; the wait doubles from 1 s to 60 s each time. The record
-- keeps task and reason behind the place of the holder, so that the sweep can find the name again.
-- ARGV: now, token of the call, retention of a cancelled job ms, then per job (at most 500): id,
--   fence, holder, task, reason
-- Reply: a letter per job: O parked, C it was to be cancelled and is, D had been done, S stale
-- Sending the call again parks nothing twice and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local before = redis.call('HGET', answers, token)
if before then return before end
local retention = tonumber(ARGV[3])
local ids = {}
for i = 4, #ARGV, 5 do ids[#ids + 1] = ARGV[i] end
local lives = redis.call('HMGET', live, unpack(ids))
local asked = redis.call('HMGET', cancels, unpack(ids))
local unused = {}
local letters, moved, aside, waits, names, records, called_off, ends = {}, {}, {}, {}, {}, {}, {}, {}
local raised = {} -- what is counted -> how often
for i, id in ipairs(ids) do
  local at = i * 5 - 1
  local fence = tonumber(ARGV[at + 1])
  local l = lives[i] and read_live(lives[i])
  if not l or l.fence ~= fence then
    letters[i] = 'S'
  elseif l.settled == fence then
    letters[i] = 'D'
  elseif string.sub(l.tail, 1, 22) ~= ARGV[at + 2] then -- of an earlier job of this id
    letters[i] = 'S'
  else
    l.settled = fence
    moved[#moved + 1] = id
    unused[id] = true
    if asked[i] then
      letters[i] = 'C'
      l.ended, l.tail = now, ''
      called_off[#called_off + 1] = id
      local counted = 'C|' .. ARGV[at + 3]
      raised[counted] = (raised[counted] or 0) + 1
      ends[#ends + 1] = now + math.max(kept_for(asked[i], retention), least_kept())
      ends[#ends + 1] = id
    else
      letters[i] = 'O'
      aside[#aside + 1] = id
      l.tail = string.rep(' ', 22) .. ARGV[at + 3] .. ' ' .. ARGV[at + 4]
      waits[#waits + 1] = now + math.min(1000 * 2 ^ l.parks, 60000)
      waits[#waits + 1] = id
      names[#names + 1] = 0
      names[#names + 1] = ARGV[at + 3] .. ' ' .. id
      l.parks = math.min(l.parks + 1, 200)
    end
    records[#records + 1] = id
    records[#records + 1] = pack_live(l)
  end
end
send('ZREM', running, moved)
send('HSET', live, records)
send('ZADD', waiting, waits)
send('ZADD', parked, names)
send('ZADD', cancelled, ends)
send('HDEL', cancels, called_off)
local asked = asks_of(moved)
leave(moved, asked, unused, now)
relock(aside, asked, now)
unlock(called_off, asked, now)
count_in(raised, now)
keep_rates(now)
note(moved)
if #called_off > 0 then redis.call('SPUBLISH', ended, table.concat(called_off, ' ')) end
if #moved > 0 then remember(calls, answers, token, now, table.concat(letters)) end
return table.concat(letters)
