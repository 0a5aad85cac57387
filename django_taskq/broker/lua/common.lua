-- Shared by every script: put between its header and its body when the script is loaded.
-- A key that a script does not declare is nil here, so only what uses it must declare it.

local PRIORITY = 35184372088832 -- 2^45: room for a sequence beside each priority in a double
local RESEND_WINDOW = 10000     -- ms for which a caller may send a call again
local MOST_ERRORS = 65536       -- bytes of failures kept per job
local TICKS = 1000              -- `running` is in order of ms * TICKS + place in the claim

-- Redis' own clock in ms; tests hand a time in.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The record of `live`, laid out as job.LIVE: a table with the fields by name.
local LIVE = '>I4I4I2I1I1I1i1I8I8I8I8I4'
local LIVE_SIZE = struct.size(LIVE)

-- One that is too short is none: what is wrong with one job must not stop the others.
local function read_live(raw)
  if not raw or #raw < LIVE_SIZE then
    return { fence = 0, settled = 0, attempt = 0, crashes = 0, lost = 0, parks = 0, priority = 0,
             expires = 0, first = 0, started = 0, ended = 0, request = 0, tail = '' }
  end
  local l = {}
  l.fence, l.settled, l.attempt, l.crashes, l.lost, l.parks, l.priority, l.expires, l.first,
    l.started, l.ended, l.request = struct.unpack(LIVE, raw)
  l.tail = string.sub(raw, LIVE_SIZE + 1)
  return l
end

local function pack_live(l)
  return struct.pack(LIVE, l.fence, l.settled, l.attempt, l.crashes, l.lost, l.parks, l.priority,
    l.expires, l.first, l.started, l.ended, l.request) .. l.tail
end

-- Whether somebody listens. Without a listener there is no stream, and none is made.
local function is_heard() return redis.call('EXISTS', events) == 1 end

-- ms that an ended job is kept at least: a call may be sent again, and who listens is to see its end.
local LISTENED = 300000
local function least_kept() return is_heard() and LISTENED or RESEND_WINDOW end

-- A list of pairs or names that one variadic command takes; nothing is sent when it is empty.
local function send(command, key, list)
  if #list > 0 then return redis.call(command, key, unpack(list)) end
end

-- ms that a job is kept which was called off while it ran: whoever asked for that knew.
local function kept_for(asked, otherwise)
  return tonumber(string.match(asked, ' (%d+)$')) or otherwise
end

-- The place of a ready job: higher priorities first, then first in first out.
local function ready_score(priority, sequence) return -priority * PRIORITY + sequence end

-- The first of `count` places at the front of the queue; those at its tail are in turns.lua.
local function front_of(meta, count) return redis.call('HINCRBY', meta, 'front', -count) end

-- One token wakes one idle worker; it stands there exactly while there are ready jobs.
local function set_wake(wake, ready)
  local left = redis.call('ZCARD', ready)
  if left == 0 then
    redis.call('DEL', wake)
  elseif redis.call('LLEN', wake) == 0 then
    redis.call('RPUSH', wake, '1')
  end
  return left
end

-- How much of its memory Redis uses, in %; 0 where it has no limit. Takes some 10 us.
local function fullness()
  local info = redis.call('INFO', 'memory')
  local most = tonumber(string.match(info, '\nmaxmemory:(%d+)'))
  return most > 0 and math.floor(tonumber(string.match(info, 'used_memory:(%d+)')) * 100 / most) or 0
end

-- Whether a person holds the queue back: for good (1), or until a time (see pause.lua).
local function is_paused(meta, now)
  local paused = tonumber(redis.call('HGET', meta, 'paused') or 0) or 0
  return paused == 1 or paused > now
end

-- Wakes the timekeeper when what was just added at `due` is the next thing due in `set`.
local function set_timer(timer, set, due)
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if tonumber(head[2]) >= due and redis.call('LLEN', timer) == 0 then
    redis.call('RPUSH', timer, '1')
  end
end

-- Tells those who listen which jobs changed.
local function note(ids)
  if #ids > 0 and is_heard() then
    redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'i', table.concat(ids, ' '))
  end
end

-- Halves a stream that takes more bytes than `most`, judged by its last entries: nobody may be
-- there who reads it, and an entry has up to 1,000 ids.
local function shorten(most)
  local bytes, latest = 0, redis.call('XREVRANGE', events, '+', '-', 'COUNT', 20)
  for _, entry in ipairs(latest) do bytes = bytes + #(entry[2][2] or '') + 40 end
  local length = redis.call('XLEN', events)
  if #latest > 0 and bytes / #latest * length > most then
    redis.call('XTRIM', events, 'MAXLEN', math.floor(length / 2))
  end
end

-- Failures are JSON lines, so adding one needs no JSON; the oldest go first when they are many.
local function add_error(old, line)
  local all = (old and old ~= '') and (old .. '\n' .. line) or line
  while #all > MOST_ERRORS do
    local cut = string.find(all, '\n', 1, true)
    if not cut then break end
    all = string.sub(all, cut + 1)
  end
  return all
end

-- Deletes ended jobs whole.
local function forget(ids, set, jobs, live, errors, results, meta, asks, reports)
  if #ids == 0 then return 0 end
  redis.call('ZREM', set, unpack(ids))
  redis.call('HDEL', jobs, unpack(ids))
  redis.call('HDEL', live, unpack(ids))
  redis.call('HDEL', errors, unpack(ids))
  redis.call('HDEL', results, unpack(ids))
  redis.call('HDEL', asks, unpack(ids))
  redis.call('HDEL', reports, unpack(ids))
  redis.call('HINCRBY', meta, 'trimmed', #ids)
  note(ids)
  return #ids
end

-- Up to `most` jobs of `set` that are past their time, else those over the count `keep`; of the
-- latter none that ended within RESEND_WINDOW, whose enqueue somebody may still send again.
local function trimmable(set, live, now, keep, most)
  local ids = redis.call('ZRANGE', set, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  if #ids > 0 then return ids end
  local over = math.min(redis.call('ZCARD', set) - keep, most)
  if over <= 0 then return ids end
  local oldest = redis.call('ZRANGE', set, 0, over - 1)
  local lives = redis.call('HMGET', live, unpack(oldest))
  for i, id in ipairs(oldest) do
    if read_live(lives[i]).ended <= now - RESEND_WINDOW then ids[#ids + 1] = id end
  end
  return ids
end

-- What calls of operators did is kept for RESEND_WINDOW; this drops up to 100 that are older.
local function forget_calls(calls, answers, now)
  local old = redis.call('ZRANGE', calls, '-inf', now - RESEND_WINDOW, 'BYSCORE', 'LIMIT', 0, 100)
  send('ZREM', calls, old)
  send('HDEL', answers, old)
end

-- Keeps the answer of a call under its token. The same call, sent again because its reply was
-- lost, is answered from here, whatever has become of its jobs since.
local function remember(calls, answers, token, now, answer)
  forget_calls(calls, answers, now)
  redis.call('ZADD', calls, now, token)
  redis.call('HSET', answers, token, answer)
end
