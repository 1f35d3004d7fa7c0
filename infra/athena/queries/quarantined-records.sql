-- Quarantined records
-- Records that are no events, and why. Lines without a reason are of objects that a repair moved away.
-- Window: everything, as quarantine has no days
-- Opens: all quarantined objects
SELECT
  regexp_extract("$path", '/(signin_attempts|item_usages|audit_events)/', 1) AS feed,
  json_extract_scalar(line, '$.reason') AS reason,
  line,
  "$path" AS object
FROM quarantine_lines
ORDER BY object;
